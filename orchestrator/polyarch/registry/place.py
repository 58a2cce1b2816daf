"""Where a distribution-spec registry keeps a repository, with all that is to be known to ask it."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import quote

from polyarch.contract.registry import Endpoint
from polyarch.registry.authenticator import Account
from polyarch.registry.http_client import Call
from polyarch.registry.trust import USUAL, Trust
from polyarch_platforms.lazy_dataclass import dataclass

API = "/v2"
"""The root of the distribution-spec's API."""


@dataclass(frozen=True, slots=True)
class Place(Endpoint):
    """An endpoint that a file of podman's or containerd's tells more about.

    `schemes` are tried in this order, () leaves it to what the registry speaks. `api` is the path of the API's root,
    `namespace` the registry that this one stands for (containerd's query `ns`), "" for none. `retries` limits the
    further tries of a request, None leaves it to the settings.
    """

    schemes: tuple[str, ...] = ()
    api: str = API
    namespace: str = ""
    trust: Trust = USUAL
    retries: int | None = None


def call_to(
    endpoint: Endpoint,
    method: str,
    path: str,
    headers: Mapping[str, str] | None = None,
    *,
    account: Account | None = None,
    bulk: bool = False,
) -> Call:
    """The request for a path of the distribution-spec (`/v2/…`, perhaps with a query) at an endpoint."""
    if not isinstance(endpoint, Place):
        return Call(method, endpoint.host, path, headers or {}, account=account, bulk=bulk)
    if path.startswith(f"{API}/"):
        path = endpoint.api + path.removeprefix(API)
    if endpoint.namespace:
        path += f"{'&' if '?' in path else '?'}ns={quote(endpoint.namespace, safe='')}"
    return Call(
        method,
        endpoint.host,
        path,
        headers or {},
        account=account,
        schemes=endpoint.schemes,
        bulk=bulk,
        trust=endpoint.trust,
        retries=endpoint.retries,
    )
