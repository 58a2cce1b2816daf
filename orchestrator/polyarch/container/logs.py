"""What a detached container has written, as its monitor keeps it (monitor.py has the form)."""

from __future__ import annotations

import ctypes
import os
import struct
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Literal

from polyarch.container.record import Record
from polyarch.errors import NotFoundError
from polyarch.files import disk_error, open_regular
from polyarch_platforms.lazy_dataclass import dataclass

OUTPUT = "output"
"""The file in a container's directory."""

# Linux, include/uapi/linux/inotify.h
_IN_MODIFY, _IN_CLOSE_WRITE = 0x2, 0x8
_EVENT = struct.Struct("iIII")


@dataclass(frozen=True, slots=True)
class LogLine:
    """One line, or with `whole` False a part of one that goes on in the next of its stream."""

    time: str
    stream: Literal["stdout", "stderr"]
    text: bytes
    whole: bool


def parse_line(raw: bytes) -> LogLine | None:
    """A line of the file, without its end; None for one that is none."""
    time, _, rest = raw.partition(b" ")
    stream, _, rest = rest.partition(b" ")
    tag, space, text = rest.partition(b" ")
    if not space or stream not in (b"stdout", b"stderr") or tag not in (b"F", b"P"):
        return None
    return LogLine(
        time.decode("ascii", "replace"), "stdout" if stream == b"stdout" else "stderr", text, whole=tag == b"F"
    )


def read_log(directory: Path, record: Record, *, tail: int | None = None) -> Iterator[LogLine]:
    """The lines that are there; with `tail` the last ones of them. Raises NotFoundError where no log is kept."""
    with _open(directory, record) as stream:
        yield from _last(_lines(stream), tail)


def follow_log(
    directory: Path, record: Record, is_running: Callable[[], bool], *, tail: int | None = None
) -> Iterator[LogLine]:
    """The same, then every line that is added, until the container has ended."""
    with _open(directory, record) as stream, _Watch(directory / OUTPUT) as watch:
        yield from _last(_lines(stream), tail)
        # Asked once the file is watched: its monitor closes it at the end, whatever ends that.
        ended = not is_running()
        while not ended:
            ended = watch.closed()
            yield from _lines(stream)
        yield from _lines(stream)


def _open(directory: Path, record: Record) -> BinaryIO:
    if not record.detached and not record.started:
        raise NotFoundError(f"the container {record.name} was never started", f"polyarch container start {record.name}")
    if not record.detached:
        raise NotFoundError(
            f"the container {record.name} was run in the foreground: its output is not kept", "run it with -d"
        )
    try:
        return open_regular(directory / OUTPUT)
    except OSError as error:
        raise disk_error(error, f"cannot read the output of the container {record.name}") from error


def _lines(stream: BinaryIO) -> Iterator[LogLine]:
    """Those that are whole; the place is left behind the last of them."""
    while raw := stream.readline():
        if not raw.endswith(b"\n"):
            stream.seek(-len(raw), os.SEEK_CUR)
            return
        line = parse_line(raw[:-1])
        if line is not None:
            yield line


def _last(lines: Iterator[LogLine], count: int | None) -> Iterator[LogLine]:
    if count is None:
        yield from lines
        return
    kept: deque[list[LogLine]] = deque(maxlen=count)
    going_on: dict[str, list[LogLine]] = {}
    for line in lines:
        group = going_on.pop(line.stream, None)
        if group is None:
            kept.append(group := [])
        group.append(line)
        if not line.whole:
            going_on[line.stream] = group
    for group in kept:
        yield from group


class _Watch:
    """Tells when a file has changed: inotify(7)."""

    def __init__(self, path: Path) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self._file = libc.inotify_init1(os.O_CLOEXEC)
        if self._file < 0 or libc.inotify_add_watch(self._file, os.fsencode(path), _IN_MODIFY | _IN_CLOSE_WRITE) < 0:
            number = ctypes.get_errno()
            raise disk_error(OSError(number, os.strerror(number)), f"cannot watch {path}")

    def __enter__(self) -> _Watch:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    def closed(self) -> bool:
        """Wait for a change; whether whoever writes has closed the file."""
        data, place, closed = os.read(self._file, 1 << 12), 0, False
        while place < len(data):
            _, mask, _, length = _EVENT.unpack_from(data, place)
            closed = closed or bool(mask & _IN_CLOSE_WRITE)
            place += _EVENT.size + length
        return closed
