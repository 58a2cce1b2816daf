"""Bearer tokens (distribution's docs/spec/auth/token.md and oauth.md): how they are asked for, read and kept."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import field
from urllib.parse import urlencode

from polyarch.auth.credentials import Credentials
from polyarch.errors import IntegrityError
from polyarch.oci.json import parse_json, text_of
from polyarch.redaction import keep_secret
from polyarch_platforms.lazy_dataclass import dataclass

LIFETIME = 60.0
"""Seconds that a token lasts where its server says nothing, or less (docs/spec/auth/token.md, `expires_in`)."""

MARGIN = 10.0
"""Seconds before its end at which a token is not used any more."""

# RFC 6750, section 2.1; a token that is anything else must not come into a header.
_TOKEN = re.compile(r"[A-Za-z0-9._~+/=:-]{1,32768}", re.ASCII)


@dataclass(frozen=True, slots=True)
class TokenQuery:
    """What a token is asked for, where, and in whose name (None: nobody's)."""

    realm: str
    service: str
    scope: str
    credentials: Credentials | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """The HTTP request for a token."""

    method: str
    url: str
    headers: dict[str, str] = field(repr=False)
    content: bytes | None = field(repr=False)


def token_request(query: TokenQuery) -> TokenRequest:
    """GET with Basic credentials or none, a field for each scope; with an identity token the OAuth2 POST."""
    fields = {name: value for name, value in (("service", query.service), ("scope", query.scope)) if value}
    if query.credentials is not None and query.credentials.is_identity_token:
        form = {
            "grant_type": "refresh_token",
            **fields,
            "client_id": "polyarch",
            "refresh_token": query.credentials.secret,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return TokenRequest("POST", query.realm, headers, urlencode(form).encode())
    headers = {}
    if query.credentials is not None:
        fields["account"] = query.credentials.username
        headers["Authorization"] = query.credentials.basic()
    mark = "&" if "?" in query.realm else "?"
    text = urlencode({**fields, **({"scope": query.scope.split()} if query.scope else {})}, doseq=True)
    return TokenRequest("GET", f"{query.realm}{mark}{text}" if text else query.realm, headers, None)


def read_token(body: bytes, where: str) -> tuple[str, float]:
    """The token in an answer, and how many seconds it lasts. Raises IntegrityError."""
    document = parse_json(body, where)
    token = text_of(document, "token", where, default="") or text_of(document, "access_token", where, default="")
    if not _TOKEN.fullmatch(token):
        raise IntegrityError(f"{where}: an answer without a proper token")
    keep_secret(token, token=True)
    lifetime = document.get("expires_in")
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float):
        lifetime = LIFETIME
    return token, float(min(max(lifetime, LIFETIME), 86400))  # a number of hundreds of digits is no float


@dataclass(slots=True)
class _Entry:
    lock: threading.Lock = field(default_factory=threading.Lock)
    token: str = field(default="", repr=False)
    until: float = 0.0


class Tokens:
    """The tokens at hand. Of many threads that need the same one, one asks for it and the others wait."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._entries: dict[TokenQuery, _Entry] = {}

    def get(self, query: TokenQuery, ask: Callable[[TokenQuery], tuple[str, float]]) -> str:
        """The token for a query; `ask` brings a new one and its lifetime. Raises what `ask` raises."""
        with self._lock:
            entry = self._entries.setdefault(query, _Entry())
        with entry.lock:
            if time.monotonic() >= entry.until - MARGIN:
                entry.token, lifetime = ask(query)
                entry.until = time.monotonic() + lifetime
            return entry.token

    def drop(self, query: TokenQuery, token: str) -> None:
        """The token was refused: do not use it again."""
        with self._lock:
            entry = self._entries.get(query)
        if entry is not None:
            with entry.lock:
                if entry.token == token:
                    entry.until = 0.0
