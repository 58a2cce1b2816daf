"""The entries of one layer, as they came, in little memory: until the layers below it are finished."""

from __future__ import annotations

import stat
import struct
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from polyarch.unpack.erofs import format as form
from polyarch.unpack.erofs.node import Node
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
# mode uid gid seconds nanoseconds size offset major minor start-of-path length-of-path length-of-link
_ROW = struct.Struct("<HIIqIQQHIQHH")
_MODE = struct.Struct("<H")
_NOTHING: tuple[None, None] = (None, None)


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
            len(self._texts),
            len(path),
            len(link),
        )
        self._texts += path
        self._texts += link

    def __len__(self) -> int:
        return len(self._rows) // _ROW.size

    def __iter__(self) -> Iterator[Row]:
        return map(self.row, range(len(self)))

    def row(self, number: int) -> Row:
        """The entry of that number; they are counted from 0."""
        at = number * _ROW.size
        mode, uid, gid, seconds, nanoseconds, size, offset, major, minor, start, path, link = _ROW.unpack_from(
            self._rows, at
        )
        middle = start + path
        xattrs, segments = self._more.get(at, _NOTHING)
        return Row(
            bytes(self._texts[start:middle]),
            _KINDS[stat.S_IFMT(mode)],
            mode,
            uid,
            gid,
            seconds * 1_000_000_000 + nanoseconds,
            size,
            offset,
            bytes(self._texts[middle : middle + link]),
            (major, minor),
            xattrs,
            segments,
        )

    def mode(self, number: int) -> int:
        """The mode alone."""
        mode: int = _MODE.unpack_from(self._rows, number * _ROW.size)[0]
        return mode

    def node(self, number: int) -> Node:
        """What an entry is in a tree that is no directory and no hard link, and has neither attributes nor holes."""
        row = self.row(number)
        if row.kind is Kind.FILE:
            return Node(row.mode, row.uid, row.gid, row.mtime, row.size, row.offset)
        data = row.link if row.kind is Kind.SYMLINK else form.encoded_device(*row.device)
        return Node(row.mode, row.uid, row.gid, row.mtime, row.size, data)
