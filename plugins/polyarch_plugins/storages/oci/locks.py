"""Locks on files, by flock(2): they exclude threads and processes alike, and die with their owner."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from polyarch.contract import StorageError, disk_error

_FIRST_PAUSE = 0.002
_LONGEST_PAUSE = 0.1
_FILE_MODE = 0o600


class Patience:
    """Waits for a lock in short pauses, at most `timeout` seconds without a sign of life.

    `sign` is asked for something that changes as long as the holder gets on; without it only the time counts.
    """

    def __init__(self, path: Path, what: str, timeout: float, sign: Callable[[], object] | None = None) -> None:
        self._path, self._what, self._timeout, self._sign = path, what, timeout, sign
        self._seen = sign() if sign else None
        self._deadline = time.monotonic() + timeout
        self._pause = _FIRST_PAUSE

    def wait(self) -> None:
        """Wait a moment. Raises StorageError, naming who holds the lock, when the time is over."""
        now = time.monotonic()
        if self._sign and (sign := self._sign()) != self._seen:
            self._seen, self._deadline = sign, now + self._timeout
        elif now >= self._deadline:
            raise StorageError(
                f"{self._what} is locked by {holder(self._path)} for more than {self._timeout:g} s",
                "wait for it to end, or raise the setting lock_timeout",
            )
        time.sleep(min(self._pause, max(self._deadline - now, 0)))
        self._pause = min(self._pause * 2, _LONGEST_PAUSE)


def open_locked(path: Path, wait: Callable[[], None]) -> int:
    """A descriptor of the file, made if it is missing, locked for this caller alone; closing it unlocks.

    `wait` is called each time when somebody else has it, and may raise. Raises OSError.
    """
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, _FILE_MODE)
        try:
            if try_lock(descriptor) and _is_still(path, descriptor):
                return descriptor
            busy = _is_still(path, descriptor)
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)
        if busy:
            wait()


def try_lock(descriptor: int) -> bool:
    """Lock an open file if nobody else has locked it. Raises OSError where the file system has no locks."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
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
    """Who holds the lock of a file, in words: by /proc/locks (proc(5)), as far as the kernel tells."""
    try:
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text("ascii").splitlines():
            fields = line.split()
            if len(fields) >= 6 and fields[1] == "FLOCK" and fields[5].rpartition(":")[2] == str(inode):
                name = Path(f"/proc/{int(fields[4])}/comm").read_text("utf-8", "replace").strip()
                return f"process {fields[4]} ({name})"
    except (OSError, ValueError):
        pass
    return "another process"


def _is_still(path: Path, descriptor: int) -> bool:
    """True unless the file was renamed or removed since it was opened."""
    try:
        there, here = path.stat(), os.fstat(descriptor)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)
