"""Writing a tar archive whose bytes depend on nothing but its contents: no times, no owners."""

from __future__ import annotations

import tarfile
from collections.abc import Iterable
from typing import BinaryIO

from polyarch.contract import StorageError

_BLOCK = 512
_END = bytes(2 * _BLOCK)


class TarWriter:
    """Appends files to an archive in `stream`, which has to be seekable. All methods raise OSError."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream

    def add(self, name: str, chunks: Iterable[bytes], size: int | None = None) -> int:
        """A file of `size` bytes; where that is not known before, it is written into the header in the end.

        Returns the bytes that came. Raises StorageError where they are not as many as promised.
        """
        at = self._stream.tell()
        self._stream.write(_header(name, size or 0))
        count = 0
        for chunk in chunks:
            self._stream.write(chunk)
            count += len(chunk)
        if size is not None and count != size:
            raise StorageError(f"{name} has {count} bytes instead of {size}", "pull the image again")
        self._stream.write(bytes(-count % _BLOCK))
        if size is None:
            end = self._stream.tell()
            self._stream.seek(at)
            self._stream.write(_header(name, count))
            self._stream.seek(end)
        return count

    def finish(self) -> None:
        """The two blocks of zeros that end an archive."""
        self._stream.write(_END)


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o644
    return info.tobuf(tarfile.GNU_FORMAT)
