"""What goes over the wire between a client and the faulty registry: a request as it came, an answer as it is sent."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.message import Message
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

_CHUNK = 16 * 1024


@dataclass(frozen=True, slots=True)
class Request:
    """A request: `target` is the path with its query. Headers are looked up in any case of letters."""

    method: str
    target: str
    headers: Message
    host: str
    """The address (host:port) that it came to."""

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query)

    @property
    def byte_range(self) -> tuple[int, int | None] | None:
        """(first, last or None) of a header `Range: bytes=first-last`; None without one."""
        value = self.headers.get("Range", "")
        if not value.startswith("bytes="):
            return None
        first, _, last = value.removeprefix("bytes=").partition("-")
        return int(first), int(last) if last else None


@dataclass(frozen=True, slots=True)
class Body:
    """The bytes of an answer: a part of a file (streamed), or `data` repeated `times`."""

    data: bytes = b""
    times: int = 1
    file: Path | None = None
    offset: int = 0
    length: int | None = None

    @property
    def size(self) -> int:
        if self.file is None:
            return len(self.data) * self.times
        return self.file.stat().st_size - self.offset if self.length is None else self.length

    def chunks(self) -> Iterator[bytes]:
        """The bytes, in pieces of at most 16 KiB if they come from a file."""
        if self.file is None:
            for _ in range(self.times):
                yield self.data
            return
        left = self.size
        with self.file.open("rb") as file:
            file.seek(self.offset)
            while left and (chunk := file.read(min(_CHUNK, left))):
                left -= len(chunk)
                yield chunk


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer. `headers` has no Content-Length: it is the body's size, unless `declared_length` says otherwise."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body = field(default_factory=Body)
    declared_length: int | None = None
    cut_after: int | None = None
    """Closes the connection after so many bytes of the body."""
    stall_after: int | None = None
    """Sends so many bytes of the body and then nothing, until `stall_until` is set or the server stops; then closes."""
    stall_until: threading.Event = field(default_factory=threading.Event)
    bytes_per_second: int | None = None

    def with_headers(self, **headers: str | None) -> Answer:
        """The answer with headers changed, or left out where None; `_` stands for `-`."""
        changed = dict(self.headers)
        for name, value in headers.items():
            changed.pop(name.replace("_", "-"), None)
            if value is not None:
                changed[name.replace("_", "-")] = value
        return replace(self, headers=changed)
