"""An answer: its head, and its body, which is read with a bound or as it comes."""

from __future__ import annotations

import contextlib
import time
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping

from polyarch.errors import IntegrityError, printable
from polyarch.limits import MAX_DISCARDED, MAX_DISCARDING
from polyarch.registry.faults import ConnectionFault
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer. `url` is where it came from, after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str = ""


class Reply:
    """An answer whose head is here. Its body is read once, by one of `read`, `chunks` and `excerpt`; then `discard`."""

    def __init__(
        self,
        host: str,
        status: int,
        headers: Mapping[str, str],
        http_version: str,
        parts: Callable[[], Iterator[bytes | memoryview]],
        close: Callable[[], None],
    ) -> None:
        """`parts` gives the body, each valid until the next, and raises ConnectionFault where it breaks off; `headers`
        has names in any case.

        `url`, set by who sent the request, is where it came from, after redirects.
        """
        self.host = host
        self.status = status
        self.headers = headers
        self.http_version = http_version
        self.url = ""
        self._parts = parts
        self._close = close
        self._read = False

    def read(self, limit: int) -> bytes:
        """The whole body, content encoding undone. Raises IntegrityError where it is longer than `limit` bytes."""
        body = bytearray()
        for part in self._decoded(limit + 1):
            body += part
            if len(body) > limit:
                raise IntegrityError(f"{self.host}: an answer of more than {limit} bytes")
        return bytes(body)

    def excerpt(self, limit: int) -> bytes:
        """The first bytes of the body, as far as they come: what is shown of an answer that is a refusal."""
        body = bytearray()
        until = time.monotonic() + MAX_DISCARDING
        with contextlib.suppress(ConnectionFault, IntegrityError):
            for part in self._decoded(limit):
                body += part
                if len(body) >= limit or time.monotonic() > until:
                    break
        return bytes(body[:limit])

    def chunks(self) -> Iterator[bytes]:
        """The body as it comes. Raises ConnectionFault where it breaks off."""
        return (part if isinstance(part, bytes) else bytes(part) for part in self.parts())

    def parts(self) -> Iterator[bytes | memoryview]:
        """As `chunks`, each valid until the next one is asked for: a large body need not be copied."""
        self._read = True
        return self._parts()

    def discard(self) -> None:
        """Done with it. A short body that nobody read is read, so that the connection can be used again."""
        if not self._read:
            read, until = 0, time.monotonic() + MAX_DISCARDING
            with contextlib.suppress(ConnectionFault):
                for part in self.chunks():
                    read += len(part)
                    if read > MAX_DISCARDED or time.monotonic() > until:
                        break
        self._close()

    def _decoded(self, limit: int) -> Iterator[bytes]:
        """The body with its encoding undone, no part longer than `limit`: a small bomb must not grow large here."""
        encoding = self.headers.get("content-encoding", "").strip().lower()
        if encoding in ("", "identity"):
            return self.chunks()
        if encoding not in ("gzip", "x-gzip", "deflate"):
            raise IntegrityError(f"{self.host}: content encoding '{printable(encoding, 40)}', which was not asked for")
        return _inflated(self.chunks(), encoding, limit, self.host)


def _inflated(parts: Iterable[bytes], encoding: str, limit: int, host: str) -> Iterator[bytes]:
    inflater = zlib.decompressobj(zlib.MAX_WBITS if encoding == "deflate" else zlib.MAX_WBITS | 16)
    came = 0
    try:
        for part in parts:
            came += len(part)
            # Packed it may come to nothing for ever: what is not worth its packing has a bound of its own.
            if came > limit + MAX_DISCARDED:
                raise IntegrityError(f"{host}: a body of much {encoding} with little in it")
            yield inflater.decompress(part, limit)
            while inflater.unconsumed_tail:
                yield inflater.decompress(inflater.unconsumed_tail, limit)
            if inflater.unused_data:
                raise IntegrityError(f"{host}: a body with something behind its {encoding}")
    except zlib.error as error:
        raise IntegrityError(f"{host}: a body that is not {encoding}, as it says") from error
    if not inflater.eof:
        raise IntegrityError(f"{host}: a body whose {encoding} has no end")
