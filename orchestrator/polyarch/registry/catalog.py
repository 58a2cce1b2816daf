"""Listing repositories (distribution's docs/spec/api.md, "Catalog"; the OCI's specification has no such list)."""

from __future__ import annotations

from collections.abc import Iterator

from polyarch.contract.registry import Endpoint
from polyarch.errors import PolyarchError, UnauthorizedError, UnreachableError, UsageError
from polyarch.limits import MAX_LIST_PAGE_SIZE
from polyarch.oci.json import parse_json, strings
from polyarch.registry.authenticator import Account
from polyarch.registry.faults import ConnectionFault
from polyarch.registry.http_client import HttpClient
from polyarch.registry.pages import name_pages
from polyarch.registry.place import call_to
from polyarch.registry.reply import Answer
from polyarch.registry.statuses import error_codes, login_hint, words

PATH = "/v2/_catalog"


def list_repositories(http: HttpClient, endpoint: Endpoint, registry: str) -> Iterator[str]:
    """The names of the registry's repositories, page by page. `registry` is what users call it.

    Raises UsageError (it offers no such list), UnauthorizedError, UnreachableError, IntegrityError (no list of names).
    """
    where = f"{registry}: catalog"
    account = Account(registry, endpoint.credentials_key)

    def ask(path: str) -> Answer:
        try:
            return http.fetch(call_to(endpoint, "GET", path, account=account), MAX_LIST_PAGE_SIZE)
        except ConnectionFault as fault:
            raise UnreachableError(
                f"registry {registry} cannot be reached: {fault.reason}", fault.hint, registry=registry
            ) from fault

    def read(answer: Answer) -> tuple[str, ...]:
        if answer.status != 200:
            raise _refusal(registry, answer, http.login_words(registry))
        return strings(parse_json(answer.body, where).get("repositories"), where)

    return name_pages(ask, read, endpoint.host, PATH, where)


def _refusal(registry: str, answer: Answer, login: str) -> PolyarchError:
    said = words(answer.body, answer.headers.get("content-type", ""))
    because = f": {said}" if said else ""
    codes = error_codes(answer.body)
    details = {"registry": registry, "status": answer.status}
    if answer.status in (404, 405, 501) or "UNSUPPORTED" in codes:
        return UsageError(f"{registry} does not list its repositories{because}", None, **details)
    if answer.status in (401, 403) or "DENIED" in codes or "UNAUTHORIZED" in codes:
        hint = f"many give it to administrators only; {login_hint(registry, login)}"
        return UnauthorizedError(f"{registry} refuses the list of its repositories{because}", hint, **details)
    return UnreachableError(
        f"{registry} answered {answer.status} for the list of its repositories{because}", None, **details
    )
