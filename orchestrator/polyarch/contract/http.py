"""What a plugin gets to speak HTTP with: connections, retries, proxies, certificates and credentials are cared for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from polyarch.errors import UnreachableError


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
