"""Locks on files, by flock(2): they exclude threads and processes alike, and die with their owner."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from polyarch.errors import StorageError
from polyarch.files import disk_error

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1
_A_MOMENT = 1.0
"""Seconds after which a person may wonder what is waited for."""
_FILE_MODE = 0o600


class Patience:
    """Waits for a lock in short pauses, at most `timeout` seconds without a sign of life.

    `sign` is asked for something that changes as long as the holder gets on; without it only the time counts. `tell`
    is called once, with the holder in words, where it takes longer than a moment.
    """

    def __init__(
        self,
        path: Path,
        what: str,
        timeout: float,
        sign: Callable[[], object] | None = None,
        tell: Callable[[str], None] | None = None,
    ) -> None:
        self._path, self._what, self._timeout, self._sign, self._tell = path, what, timeout, sign, tell
        self._seen = sign() if sign else None
        self._began = time.monotonic()
        self._deadline = self._began + timeout
        self._pause = _FIRST_PAUSE

    def wait(self) -> None:
        """Wait a moment. Raises StorageError, naming who holds the lock, when the time is over."""
        now = time.monotonic()
        if self._tell and now - self._began >= _A_MOMENT:
            self._tell(holder(self._path))
            self._tell = None
        if self._sign and (sign := self._sign()) != self._seen:
            self._seen, self._deadline = sign, now + self._timeout
        elif now >= self._deadline:
            raise StorageError(
                f"{self._what} is locked by {holder(self._path)} for more than {self._timeout:g} s",
                "wait for it to end, or raise the setting lock_timeout",
            )
        time.sleep(min(self._pause, max(self._deadline - now, 0)))
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)


def open_locked(path: Path, wait: Callable[[], None] | None = None, *, shared: bool = False) -> int:
    """A descriptor of the file, made if it is missing, locked for this caller alone, or for all who want it `shared`;
    closing it unlocks.

    `wait` is called each time when somebody else has it, and may raise; without it this waits until it is free. Raises
    OSError.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            if try_lock(descriptor, wait=wait is None, shared=shared) and _is_still(path, descriptor):
                return descriptor
            busy = _is_still(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if busy and wait is not None:
            wait()


def give_up() -> None:
    """A `wait` that does not. Raises BlockingIOError."""
    raise BlockingIOError(errno.EWOULDBLOCK, os.strerror(errno.EWOULDBLOCK))


def try_lock(descriptor: int, *, wait: bool = False, shared: bool = False) -> bool:
    """Lock an open file if nobody else has locked it, or when that is over. Raises OSError where the file system has
    no locks.
    """
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | (0 if wait else fcntl.LOCK_NB))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


@contextlib.contextmanager
def locked(path: Path, what: str, timeout: float) -> Iterator[None]:
    """Hold the lock for the moments of a `with`. Raises StorageError when it is not to be had in `timeout` seconds."""
    try:
        descriptor = open_locked(path, Patience(path, what, timeout).wait)
    except OSError as error:
        raise disk_error(error, f"cannot lock {what}") from error
    try:
        yield
    finally:
        os.close(descriptor)


def holder(path: Path) -> str:
    """Who holds the lock of a file, in words, as far as the kernel tells."""
    try:
        pid = _pid_of_holder(path)
        name = Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip()
    except (OSError, ValueError):
        return "another process"
    return f"process {pid} ({name})"


def life_of_holder(path: Path) -> object:
    """A sign of life of who holds the lock of a file: which process it is, and the processor time that it has used.

    Where the kernel does not tell, it is another one each time: nobody can say that the holder hangs.
    """
    try:
        pid = _pid_of_holder(path)
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8", "replace").rpartition(")")[2].split()
    except (OSError, ValueError):
        return time.monotonic()
    return pid, fields[11:15]  # utime, stime, cutime, cstime: proc(5)


def _pid_of_holder(path: Path) -> int:
    """By /proc/locks (proc(5)). Raises OSError; ValueError: it tells of none, or of one that is not to be seen here."""
    inode = str(path.stat().st_ino)
    for line in Path("/proc/locks").read_text("ascii").splitlines():
        fields = line.split()
        if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == inode:
            return int(fields[4])
    raise ValueError(f"no lock of {path}")


def _is_still(path: Path, descriptor: int) -> bool:
    """True unless the file was renamed or removed since it was opened."""
    try:
        there, here = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
