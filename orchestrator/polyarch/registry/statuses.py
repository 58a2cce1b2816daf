"""What a refusal of a registry means, and what it says (distribution-spec, "Error Codes")."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from polyarch.errors import (
    IntegrityError,
    NotFoundError,
    PolyarchError,
    UnauthorizedError,
    UnreachableError,
    printable,
)
from polyarch.oci.json import parse_json
from polyarch.reference import Reference
from polyarch.registry.faults import ConnectionFault
from polyarch.registry.rate_limits import parse_limit, when
from polyarch.registry.reply import Answer
from polyarch.registry.retry import retry_after

_TITLE = re.compile(rb"<title[^<>]*>([^<]{1,300})", re.IGNORECASE)


def error_codes(body: bytes) -> tuple[str, ...]:
    """The codes in the errors that a registry answers: MANIFEST_UNKNOWN, TOOMANYREQUESTS …"""
    return tuple(str(error.get("code", "")).upper() for error in _errors(body))


def words(body: bytes, content_type: str = "") -> str:
    """What a refusal's body says, on one short line: the spec's errors, a page's title, plain text; "" for nothing."""
    said = [_sentence(error) for error in _errors(body)[:3]]
    if any(said):
        return printable("; ".join(part for part in said if part), 300)
    if "html" in content_type.lower() or body.lstrip()[:1] == b"<":
        title = _TITLE.search(body)
        name = f" titled '{printable(title[1].decode(errors='replace').strip(), 100)}'" if title else ""
        return f"a web page{name}"
    return printable(body.decode(errors="replace").strip(), 200)


def _sentence(error: dict[str, object]) -> str:
    code = f"({error['code']})" if error.get("code") else ""
    return " ".join(part for part in (str(error.get("message") or ""), code) if part)


def _errors(body: bytes) -> list[dict[str, object]]:
    try:
        document = parse_json(body, "errors")
    except IntegrityError:
        return []
    errors = document.get("errors")
    if isinstance(errors, list):
        return [error for error in errors if isinstance(error, dict)]
    for key in ("message", "details", "error_description", "error"):  # what Docker Hub, GitHub and OAuth2 answer
        if isinstance(document.get(key), str):
            return [{"message": document[key]}]
    return []


@contextmanager
def about(reference: Reference, host: str) -> Iterator[None]:
    """Errors raised within say which reference and registry they are about."""
    details = {"reference": str(reference), "registry": host}
    try:
        yield
    except ConnectionFault as fault:
        where = "" if fault.host == host else f"{fault.host}: "
        raise UnreachableError(
            f"{reference}: registry {host} cannot be reached: {where}{fault.reason}", fault.hint, **details
        ) from fault
    except PolyarchError as error:
        raise type(error)(f"{reference}: {error.message}", error.hint, **{**details, **error.details}) from error


def login_hint(registry: str, login: str = "") -> str:
    """The command that helps where credentials are missing; `login` says in words where one gets them there."""
    return f"polyarch login {registry}" + (f" ({login})" if login else "")


def refusal(reference: Reference, host: str, answer: Answer, what: str, login: str = "") -> PolyarchError:
    """The error for a status that is no success; `what` was asked for: "manifest", "blob sha256:…", "tags".

    `login` says in words how one gets credentials there.
    """
    said = words(answer.body, answer.headers.get("content-type", ""))
    because = f": {said}" if said else ""
    codes = error_codes(answer.body)
    kind: type[PolyarchError] = UnreachableError
    hint = None
    message = f"{host} answered {answer.status} for the {what}{because}"
    if "NAME_UNKNOWN" in codes:
        kind, hint = NotFoundError, "look at the spelling of the name"
        message = f"{host} has no repository {reference.repository}{because}"
    elif answer.status == 404 or "MANIFEST_UNKNOWN" in codes:
        kind = NotFoundError
        if what == "manifest" and not reference.digest:
            what, hint = f"tag {reference.tag}", f"see which there are: polyarch tags {reference.name}"
        elif what == "manifest":
            what = f"manifest {reference.digest}"
        message = f"{host} has no {what} in {reference.repository}{because}"
    elif answer.status in (401, 403) or "DENIED" in codes or "UNAUTHORIZED" in codes:
        kind = UnauthorizedError
        hint = f"either it does not exist, or it needs credentials: {login_hint(reference.registry or host, login)}"
        message = f"{host} refuses the {what}{because}"
    elif answer.status == 407:
        hint, message = "write them into HTTPS_PROXY", f"the proxy before {host} wants credentials"
    else:
        hint = _waiting(answer, reference.registry or host)
    details = {"registry": host, "status": answer.status}
    return kind(f"{reference}: {message}", hint, reference=str(reference), **details)


def _waiting(answer: Answer, registry: str) -> str | None:
    now = datetime.now(UTC)
    field = answer.headers.get("retry-after", "")
    seconds = retry_after(field, now)
    limit = parse_limit(answer.headers)
    hints = []
    if seconds is not None:
        hints.append(f"it asks to wait until then: {_in(seconds)}, {when(seconds, now)}")
    elif field:
        hints.append(f"it asks to wait until then: {printable(field, 40)}")
    if answer.status == 429 and limit is not None:
        hints.append(f"{limit}; {limit.until(now)}" if limit.reset else str(limit))
    if answer.status == 429 and (limit is None or not limit.source or limit.of_nobody):
        hints.append(f"polyarch login {registry} may raise the limit")
    return "; ".join(hints) or None


def _in(seconds: float) -> str:
    return f"{seconds:.0f} s"
