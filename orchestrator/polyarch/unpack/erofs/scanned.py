"""The entries of one layer, as they came, in little memory: until the layers below it are finished."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from polyarch.unpack.sparse import Segments
from polyarch.unpack.tar import Entry, Kind

_FORMATS = {
    Kind.FILE: stat.S_IFREG,
    Kind.HARD_LINK: 0,
    Kind.SYMLINK: stat.S_IFLNK,
    Kind.CHARACTER: stat.S_IFCHR,
    Kind.BLOCK: stat.S_IFBLK,
    Kind.DIRECTORY: stat.S_IFDIR,
    Kind.FIFO: stat.S_IFIFO,
}
_KINDS = {number: kind for kind, number in _FORMATS.items()}
# mode uid gid seconds nanoseconds size offset major minor length-of-path length-of-link
_ROW = struct.Struct("<HIIqIQQHIHH")


class Row(NamedTuple):
    """An entry. `path` and `link` as in `Outline`, `mode` as `stat` has it (0 above the permissions of a hard link),
    `mtime` in nanoseconds, `offset` of its bytes in the archive.
    """

    path: bytes
    kind: Kind
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    offset: int
    link: bytes
    device: tuple[int, int]
    xattrs: Mapping[str, bytes] | None
    segments: Segments | None


class Scanned:
    """The entries of a layer, which `where` names in messages, and the size of its archive in bytes."""

    def __init__(self, where: str) -> None:
        self.where = where
        self.tag = b""
        self.size = 0
        self._rows = bytearray()
        self._texts = bytearray()
        self._more: dict[int, tuple[Mapping[str, bytes], Segments | None]] = {}

    def add(self, entry: Entry, path: bytes, link: bytes) -> None:
        """Take one more entry. Its path has no `.` and no empty parts; so has a hard link's target."""
        if entry.xattrs or entry.segments is not None:
            self._more[len(self._rows)] = entry.xattrs, entry.segments
        seconds, nanoseconds = divmod(entry.mtime, 1_000_000_000)
        self._rows += _ROW.pack(
            entry.mode | _FORMATS[entry.kind],
            entry.uid,
            entry.gid,
            seconds,
            nanoseconds,
            entry.size,
            entry.offset,
            *entry.device,
            len(path),
            len(link),
        )
        self._texts += path
        self._texts += link

    def __iter__(self) -> Iterator[Row]:
        texts = bytes(self._texts)
        at = 0
        for number, row in enumerate(_ROW.iter_unpack(self._rows)):
            mode, uid, gid, seconds, nanoseconds, size, offset, major, minor, path, link = row
            xattrs, segments = self._more.get(number * _ROW.size, (None, None))
            middle, end = at + path, at + path + link
            yield Row(
                texts[at:middle],
                _KINDS[stat.S_IFMT(mode)],
                mode,
                uid,
                gid,
                seconds * 1_000_000_000 + nanoseconds,
                size,
                offset,
                texts[middle:end],
                (major, minor),
                xattrs,
                segments,
            )
            at = end
