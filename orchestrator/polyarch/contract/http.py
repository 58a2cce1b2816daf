"""What a plugin gets to speak HTTP with: connections, retries, proxies, certificates and credentials are cared for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from polyarch.errors import NotFoundError, UnauthorizedError, UnreachableError, printable
from polyarch.oci.json import parse_json

MAX_JSON = 8 << 20
"""Bytes of a JSON answer that are read."""


class HttpResponse(Protocol):
    """An answer whose head is here and whose body is still to be read."""

    @property
    def status(self) -> int:
        """The status code."""

    @property
    def headers(self) -> Mapping[str, str]:
        """The header fields; names are found in any case."""

    def read(self, limit: int) -> bytes:
        """The whole body, content encoding undone; IntegrityError if it is longer than `limit` bytes."""

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes, content encoding not undone; UnreachableError where the connection breaks."""


class Http(Protocol):
    """Sends requests. Redirects are followed, passing faults are tried again, credentials never leave their host."""

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
    ) -> AbstractContextManager[HttpResponse]:
        """One request. Statuses are the caller's to judge; raises UnreachableError where no answer comes.

        A `url` without a scheme (`//HOST:PORT/path`) is asked as registries are: over TLS, or over plain HTTP on
        loopback and where the user has allowed it.

        `content` that is no bytes object travels as it comes, chunked; such a request is never sent twice.
        """


def no_http(socket: Path) -> Http:
    """For those who have no connections to hand out: raises UnreachableError."""
    raise UnreachableError(f"there is no HTTP here to speak over {socket}")


def get_json(http: Http, url: str, registry: str) -> dict[str, object]:
    """The JSON object that a registry's own API has at `url`. `registry` is what users call it.

    Raises NotFoundError (404, 410), UnauthorizedError (401, 403), UnreachableError (any other status but 200), and
    IntegrityError for what is no JSON object.
    """
    with http.request("GET", url, headers={"Accept": "application/json"}) as response:
        if response.status == 200:
            return parse_json(response.read(MAX_JSON), f"{registry}: {url}")
        status, pause = response.status, response.headers.get("retry-after", "")
    what = f"{registry} answered {status} for {url}"
    details = {"registry": registry, "status": status}
    if status in (404, 410):
        raise NotFoundError(what, None, **details)
    if status in (401, 403):
        raise UnauthorizedError(what, f"polyarch login {registry}", **details)
    raise UnreachableError(what, f"it asks to wait until then: {printable(pause, 40)}" if pause else None, **details)
