"""A blob on its way in: a file that is resumed, never seen by readers, and renamed into place when it is whole."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from polyarch.contract import Digest, Patience, disk_error, open_locked
from polyarch_plugins.storages.oci.writeout import begin_writeout

_CHUNK = 1 << 20
_WRITEOUT = 8 << 20
"""Bytes after which the kernel is asked to begin writing them to the disk."""
_MODE = 0o644


class PartialBlob:
    """The BlobWriter of this storage; satisfies ReadsBack. It owns `descriptor`, an open, locked file, until closed."""

    def __init__(self, path: Path, descriptor: int, publish: Callable[[], None], *, sync: bool) -> None:
        """`publish` renames the finished file into place; the lock is held until then, so nobody writes it twice.

        `sync` tells that the blob will be waited for: its way to the disk begins while it comes in.
        """
        self._path, self._descriptor, self._publish, self._sync = path, descriptor, publish, sync
        self._offset = self._begun = os.fstat(descriptor).st_size
        self._published = False

    @property
    def offset(self) -> int:
        """How many bytes are here."""
        return self._offset

    def kept(self) -> Iterator[bytes]:
        """The bytes that are here, from the first on."""
        position = 0
        while position < self._offset:
            try:
                chunk = os.pread(self._descriptor, min(_CHUNK, self._offset - position), position)
            except OSError as error:
                raise disk_error(error, f"cannot read {self._path}") from error
            if not chunk:
                return
            yield chunk
            position += len(chunk)

    def open_written(self) -> BinaryIO:
        """The file itself, which stays the same one when it is renamed."""
        try:
            return self._path.open("rb", buffering=0)
        except OSError as error:
            raise disk_error(error, f"cannot read {self._path}") from error

    def write(self, data: bytes | memoryview) -> None:
        """Append `data`."""
        view = memoryview(data)
        while view:
            try:
                written = os.pwrite(self._descriptor, view, self._offset)
            except OSError as error:
                raise disk_error(error, f"cannot write {self._path}") from error
            self._offset += written
            view = view[written:]
        self._begin_writeout(_WRITEOUT)

    def restart(self) -> None:
        """Throw away what is here."""
        try:
            os.ftruncate(self._descriptor, 0)
        except OSError as error:
            raise disk_error(error, f"cannot write {self._path}") from error
        self._offset = self._begun = 0

    def finish(self) -> None:
        """The blob is whole and verified: make it visible."""
        self._begin_writeout(1)
        try:
            if os.fstat(self._descriptor).st_mode & 0o777 != _MODE:
                os.fchmod(self._descriptor, _MODE)
            self._publish()
        except OSError as error:
            raise disk_error(error, f"cannot put {self._path} into place") from error
        self._published = True

    def _begin_writeout(self, least: int) -> None:
        if self._sync and self._offset - self._begun >= least:
            begin_writeout(self._descriptor, self._begun, self._offset)
            self._begun = self._offset

    def close(self) -> None:
        """Leave what is here to the next try; an empty file is none."""
        try:
            if not self._published and self._offset == 0:
                self._path.unlink(missing_ok=True)
        finally:
            os.close(self._descriptor)


def partial_path(directory: Path, digest: Digest) -> Path:
    """Where the bytes of an unfinished blob are kept."""
    return directory / digest.replace(":", "-")


def digest_of_partial(path: Path) -> Digest:
    """The digest that a partial file is named after."""
    return path.name.replace("-", ":", 1)


def lock_partial(path: Path, digest: Digest, timeout: float) -> int:
    """The open file of a partial blob, locked. Waits for another process at the same blob as long as that gets on.

    Raises StorageError if nothing came for `timeout` seconds, OSError.
    """

    def size() -> int | None:
        try:
            return path.stat().st_size
        except FileNotFoundError:
            return None

    return open_locked(path, Patience(path, f"blob {digest}", timeout, size).wait)
