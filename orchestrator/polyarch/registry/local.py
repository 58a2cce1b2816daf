"""HTTP over unix sockets: how the engines of this machine are spoken with."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.registry.origin import Origin
from polyarch.registry.reply import Reply

if TYPE_CHECKING:
    from polyarch.registry.transport import Transport

_ORIGIN = Origin("http", "localhost", 80)


class LocalHttp:
    """The contract's `Http` over the unix socket at a path. Nobody logs in, is redirected, or is asked a second time.

    Only a URL's path and query count; whoever listens there takes any host. There is no limit to the time of an answer.
    """

    def __init__(self, socket: Path) -> None:
        self._socket = str(socket)
        self._opened: Transport | None = None

    @contextmanager
    def request(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: bytes | Iterable[bytes] | None = None,
    ) -> Iterator[Reply]:
        """One request. Raises UnreachableError where nobody listens, or the answer breaks off."""
        from polyarch.registry.transport import Line

        path = url.removeprefix(str(_ORIGIN))
        reply = self._transport().send(
            method, Line(_ORIGIN, bulk=True, socket=self._socket), path, headers or {}, content
        )
        try:
            yield reply
        finally:
            reply.discard()

    def close(self) -> None:
        """Close all connections; who waits on one gets an UnreachableError."""
        if self._opened is not None:
            self._opened.close()

    def _transport(self) -> Transport:
        if self._opened is None:
            from polyarch.registry.transport import Transport

            self._opened = Transport(connect_timeout=10.0, read_timeout=30.0)
        return self._opened
