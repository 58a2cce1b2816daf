"""The file of an archive storage: read as it is now, and replaced in one step."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

from polyarch.contract import (
    ImagePlace,
    NotFoundError,
    StorageError,
    StorageServices,
    UsageError,
    absolute_path,
    disk_error,
    is_there,
    sync_directory,
)

P = TypeVar("P", bound=ImagePlace)
_CHUNK = 1 << 20
_PAUSE = 0.05


class Archive(Generic[P]):
    """One archive, opened by `open_place`."""

    def __init__(
        self, kind: str, services: StorageServices, open_place: Callable[[Path, Callable[[], Path]], P]
    ) -> None:
        """Raises UsageError where no file was named."""
        if not services.location:
            raise UsageError(f"{kind} wants a file", f"write --into {kind}:FILE")
        self.path = Path(os.path.realpath(absolute_path(services.location)))
        self._kind = kind
        self._open_place = open_place
        self._lock_timeout, self._sync = services.lock_timeout, services.sync
        self._place: P | None = None
        self._state: tuple[int, ...] = ()

    def read(self) -> P | None:
        """The images in the file as it is now; None where there is none yet. Raises IntegrityError and StorageError."""
        if not is_there(self.path.parent):
            raise StorageError(f"there is no folder {self.path.parent} to write {self.path.name} into")
        state = self._now()
        if self._place is None or state != self._state:
            self.close()
            if state:
                with contextlib.suppress(NotFoundError):  # it went in this moment
                    self._place, self._state = self._open_place(self.path, self._refuse_compressed), state
        return self._place

    def _now(self) -> tuple[int, ...]:
        """What changes when somebody replaces or writes the file; () for none, and for an empty one."""
        try:
            status = self.path.stat()
        except FileNotFoundError:
            return ()
        except OSError as error:
            raise disk_error(error, f"cannot read {self.path}") from error
        if stat.S_ISREG(status.st_mode) and not status.st_size:
            return ()
        return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns

    def _refuse_compressed(self) -> Path:
        raise StorageError(
            f"{self.path} is compressed, so nothing can be added to it", "decompress it, or name a new file"
        )

    @contextlib.contextmanager
    def replaced(self) -> Iterator[BinaryIO]:
        """A file to write the new archive into, which takes the old one's place at the end; after a failure it goes.

        Nobody else writes archives of this folder meanwhile. Raises StorageError.
        """
        new = self.path.with_name(f".{self.path.name}.new")
        with self._locked():
            try:
                try:
                    mode = stat.S_IMODE(self.path.stat().st_mode) if is_there(self.path) else None
                    with new.open("wb") as stream:
                        if mode is not None:
                            os.fchmod(stream.fileno(), mode)
                        yield stream
                        stream.flush()
                        if self._sync:
                            os.fsync(stream.fileno())
                    new.replace(self.path)
                    if self._sync:
                        sync_directory(self.path.parent)
                except BaseException:
                    with contextlib.suppress(OSError):
                        new.unlink(missing_ok=True)
                    raise
            except OSError as error:
                raise disk_error(error, f"cannot write {self.path}") from error

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        deadline = time.monotonic() + self._lock_timeout
        try:
            descriptor = os.open(self.path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise disk_error(error, f"cannot write {self.path}") from error
        try:
            while True:
                try:
                    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except OSError as error:
                    if error.errno not in (errno.EWOULDBLOCK, errno.EINTR):
                        raise disk_error(error, f"cannot lock {self.path.parent}") from error
                if time.monotonic() > deadline:
                    waited = f"more than {self._lock_timeout:g} s"
                    raise StorageError(f"another process writes an archive in {self.path.parent}, for {waited}")
                time.sleep(_PAUSE)
            yield
        finally:
            os.close(descriptor)

    def close(self) -> None:
        """Close the file."""
        if self._place is not None:
            self._place.close()
        self._place = None


def chunks_of(path: Path) -> Iterator[bytes]:
    """The bytes of a file. Raises OSError."""
    with path.open("rb") as stream:
        while data := stream.read(_CHUNK):
            yield data
