"""Trying and keeping credentials."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from polyarch.auth import store
from polyarch.auth.credentials import Credentials
from polyarch.contract.registry import Endpoint, Registry
from polyarch.errors import UnauthorizedError, UnreachableError, UsageError
from polyarch.limits import MAX_REFUSAL
from polyarch.reference import Reference
from polyarch.registry.authenticator import Account
from polyarch.registry.http_client import HttpClient
from polyarch.registry.place import call_to
from polyarch.registry.statuses import words
from polyarch.settings import Settings


@runtime_checkable
class ChecksLogin(Protocol):
    """A registry that can tell whether credentials are right."""

    def check_login(self, reference: Reference, credentials: Credentials) -> None:
        """Try the credentials at the registry of a reference. Raises UnauthorizedError."""


def login(settings: Settings, registry: Registry, reference: Reference, credentials: Credentials) -> str:
    """Try credentials at a reference's registry and keep them for it; returns where.

    Raises UnauthorizedError, UnreachableError, UsageError (no registry with logins), and what `auth.store.login` does.
    """
    if not isinstance(registry, ChecksLogin):
        raise UsageError(f"{reference.name}: its registry knows no logins")
    registry.check_login(reference, credentials)
    return store.login(settings, reference.registry, credentials)


def check_login(http: HttpClient, endpoint: Endpoint, reference: Reference, credentials: Credentials) -> None:
    """Ask for `/v2/` with the credentials (distribution-spec, "Determining Support"); used from then on if right.

    A registry that wants no login takes any. Raises UnauthorizedError, UnreachableError.
    """
    host, key = endpoint.host, endpoint.credentials_key
    http.use_credentials(key, credentials)
    try:
        account = Account(reference.registry or host, key)
        answer = http.fetch(call_to(endpoint, "GET", "/v2/", account=account), MAX_REFUSAL)
        said = words(answer.body, answer.headers.get("content-type", "")) or "no reason given"
        if answer.status in (401, 403):
            raise UnauthorizedError(
                f"{host} refuses the credentials of {credentials.username!r}: {said}",
                http.login_words(reference.registry) or None,
            )
        if answer.status != 200:
            raise UnreachableError(f"{host} answered {answer.status} to a login: {said}", "is it a registry?")
    except BaseException:
        http.use_credentials(key, None)
        raise
