"""Whether a registry answers at all."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from polyarch.contract.registry import Endpoint
from polyarch.errors import UnreachableError
from polyarch.limits import MAX_REFUSAL
from polyarch.reference import Reference
from polyarch.registry.http_client import HttpClient
from polyarch.registry.place import call_to

# 401 asks for a login, 403 and 429 are refusals of somebody who is there.
_ANSWERS = frozenset({200, 401, 403, 429})


@runtime_checkable
class AnswersPing(Protocol):
    """A registry that can be asked whether it is there."""

    def ping(self, reference: Reference) -> None:
        """Ask the registry of a reference without credentials. Raises UnreachableError."""


def ping(http: HttpClient, endpoint: Endpoint) -> None:
    """Ask for `/v2/` (distribution-spec, "Determining Support"), without credentials. Raises UnreachableError."""
    answer = http.fetch(call_to(endpoint, "GET", "/v2/"), MAX_REFUSAL)
    if answer.status not in _ANSWERS:
        raise UnreachableError(f"{endpoint.host} answered {answer.status}", "is it a registry?")
