"""Secrets that this process knows, taken out of what is told to people and of what is written into reports.

Registries, proxies, helpers and plugins may say again what they were shown, as some do in the bodies of their errors:
`printable` takes it out. Who shows a secret on purpose in a form of its own (backwards, encrypted) is not found out; it
has the secret anyway.
"""

from __future__ import annotations

import re
import threading

MARK = "[secret]"

LEAST = 8
"""Characters of a secret that is taken out wherever it stands. A shorter one may be a word of any text, which would be
made unreadable, and would tell what the password is; it is taken out in Base64 together with its user."""

_MOST = 256
"""Tokens that are known; the oldest one is forgotten for a further one. Who gives them out gives as many as he likes:
a password is never forgotten for them."""

_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;"})
_USER_IN_URL = re.compile(r"""(?<!\bssh)(://)[^/\s@'"]++@|(\bssh://)[^/\s@'":]*+:[^/\s@'"]*+@""")
"""A token may stand where a user does; SSH has none, and who logs in there is no secret."""

_lock = threading.Lock()
_known: dict[tuple[str, str], set[str]] = {}
_tokens: list[tuple[str, str]] = []
_forms: tuple[str, ...] = ()


def keep_secret(secret: str, username: str = "", *, token: bool = False) -> None:
    """From now on `secret`, perhaps the one of `username`, is in no text that is told; a `token` until there were many.

    It is found as it is, as URLs, JSON, HTML and Python write it, and in Base64, with a user or within anything else.
    """
    global _forms
    with _lock:
        key = (secret, username)
        if not token and key in _tokens:
            _tokens.remove(key)
        if not secret or key in _known:
            return
        _known[key] = _forms_of(secret, username)
        if token:
            _tokens.append(key)
        if len(_tokens) > _MOST:
            del _known[_tokens.pop(0)]
        _forms = tuple(sorted(set().union(*_known.values()), key=len, reverse=True))


def redacted(text: str) -> str:
    """`text` with MARK in place of what is secret, and of users and passwords in URLs."""
    for form in _forms:
        if form in text:
            text = text.replace(form, MARK)
    if "@" in text and "://" in text:
        text = _USER_IN_URL.sub(rf"\1\2{MARK}@", text)
    return text


def _forms_of(secret: str, username: str) -> set[str]:
    import base64
    import json
    from urllib.parse import quote, quote_plus

    raw = secret.encode(errors="surrogatepass")
    with_user = base64.b64encode(f"{username}:".encode(errors="surrogatepass") + raw)
    found = {with_user}
    if len(secret) >= LEAST:
        # Wherever it stands in what is packed: the letters that nothing beside it has a part in.
        for before in range(3):
            whole = base64.b64encode(bytes(before) + raw)
            found.add(whole[(before * 8 + 5) // 6 : (before + len(raw)) * 8 // 6])
    packed = {form.decode().rstrip("=") for form in found}
    forms = packed | {form.replace("+", "-").replace("/", "_") for form in packed}
    if len(secret) >= LEAST:
        forms |= {secret, quote(secret, safe=""), quote_plus(secret), quote(secret), secret.translate(_HTML)}
        forms |= {json.dumps(secret)[1:-1], json.dumps(secret, ensure_ascii=False)[1:-1], repr(secret)[1:-1]}
    return forms
