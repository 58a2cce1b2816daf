"""What one layer holds, by name, of a scan that somebody made for another purpose; contents stay in its archive."""

from __future__ import annotations

import io
import os
from typing import TYPE_CHECKING, BinaryIO, cast

from polyarch.unpack.layer_index import MAX_CONTENT, Content, Names
from polyarch.unpack.tar import Kind

if TYPE_CHECKING:
    from polyarch.unpack.erofs.scanned import Scanned


class ScannedIndex(Names):
    """The names in a layer that was scanned into `archive`, an open file, which stays the caller's."""

    def __init__(self, scanned: Scanned, archive: int) -> None:
        super().__init__()
        self._scanned = scanned
        self._archive = archive
        for row in scanned:
            self.add(row.path, row.kind, row.link)

    def content(self, path: bytes) -> Content | None:
        """The content of a file of this layer."""
        file = self.file_of(path)
        row = None
        for each in self._scanned:  # for the few that are asked for; to keep them by name takes ten times the memory
            if each.path == file and each.kind is not Kind.SYMLINK and each.kind is not Kind.HARD_LINK:
                row = each
        if row is None or row.kind is not Kind.FILE:
            return None
        if row.segments is None:
            part = _Part(self._archive, row.offset, min(row.size, MAX_CONTENT))
            return Content(cast("BinaryIO", io.BufferedReader(part)), row.size)
        whole, offset = io.BytesIO(bytes(min(row.size, MAX_CONTENT))), row.offset
        for start, length in row.segments:
            whole.seek(start)
            whole.write(os.pread(self._archive, max(0, min(length, MAX_CONTENT - start)), offset))
            offset += length
        whole.seek(0)
        return Content(whole, row.size)


class _Part(io.RawIOBase):
    """`size` bytes of an open file, from `start` on, as a file; the place in the other one does not move."""

    def __init__(self, file: int, start: int, size: int) -> None:
        super().__init__()
        self._file = file
        self._start = start
        self._size = size
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = (0, self._at, self._size)[whence]
        self._at = max(0, base + offset)
        return self._at

    def readinto(self, buffer: object) -> int:
        view = memoryview(buffer)[: max(0, self._size - self._at)]  # type: ignore[arg-type]  # what io gives
        count = os.preadv(self._file, [view], self._start + self._at) if view else 0
        self._at += count
        return count
