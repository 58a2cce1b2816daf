"""Leases: which blobs the storages in use count on, in files that others can read and that die with their owner."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import uuid
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from polyarch.contract import Digest, try_lock

_MODE = 0o600
_LONG = 64 << 10
"""Bytes of a lease that are looked through for what is past."""


class Lease:
    """The blobs that one open storage counts on, each as often as it was asked for. Used under the storage's lock.

    The file has a line for each change of what is counted on at all, `+DIGEST` or `-DIGEST`; where the lines grow many
    it is written anew. All methods raise OSError.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path: Path | None = None
        self._descriptor = -1
        self._size = 0
        # By thread: a thread that removes images is not in the middle of a pull, so what it counted on is over.
        self._counted: dict[int, Counter[Digest]] = {}
        self._all = Counter[Digest]()

    def add(self, digest: Digest) -> None:
        """Count on a blob, for this thread, from now on."""
        if self._path is None:
            path = self.directory / uuid.uuid4().hex
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
            self._path = path
            try_lock(self._descriptor)
        if not self._all[digest]:
            self._append(f"+{digest}\n")
        self._all[digest] += 1
        self._counted.setdefault(threading.get_ident(), Counter())[digest] += 1

    def drop(self, digests: Iterable[Digest]) -> None:
        """Count once less on each of the blobs: they are named by now."""
        for digest in digests:
            mine = self._counted.get(threading.get_ident(), Counter[Digest]())
            for counts in (mine, *self._counted.values()):
                if counts[digest] > 0:
                    self._less(digest, 1)
                    counts[digest] -= 1
                    break
        self._forget_empty()

    def forget(self, digests: Iterable[Digest]) -> None:
        """Count on none of the blobs any more, however often and by whichever thread they were asked for."""
        for digest in digests:
            for counts in self._counted.values():
                self._less(digest, counts.pop(digest, 0))

    def drop_own(self) -> None:
        """Count no longer on what this thread has asked for."""
        for digest, count in self._counted.pop(threading.get_ident(), Counter[Digest]()).items():
            self._less(digest, count)

    def close(self) -> None:
        """Count on nothing any more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
        self._path, self._descriptor, self._size = None, -1, 0
        self._counted.clear()
        self._all.clear()

    def _less(self, digest: Digest, times: int) -> None:
        if times and self._all[digest] == times:
            self._append(f"-{digest}\n")
            del self._all[digest]
            self._shorten()
        elif times:
            self._all[digest] -= times

    def _forget_empty(self) -> None:
        """Of threads of a pull that is over nothing is kept."""
        for thread, counts in list(self._counted.items()):
            if not any(counts.values()):
                del self._counted[thread]

    def _shorten(self) -> None:
        """Write the file anew where most of it is past. Whoever is killed meanwhile counts on nothing any more."""
        if self._size <= _LONG:
            return
        lines = "".join(f"+{digest}\n" for digest, count in self._all.items() if count).encode("ascii")
        if self._size > 2 * len(lines):
            os.pwrite(self._descriptor, lines, 0)
            os.ftruncate(self._descriptor, len(lines))
            self._size = len(lines)

    def _append(self, line: str) -> None:
        data = line.encode("ascii")
        try:
            if os.pwrite(self._descriptor, data, self._size) != len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._descriptor, self._size)
            raise
        self._size += len(data)


def counted_on(directory: Path) -> set[Digest]:
    """The blobs on which any storage in use counts; leases of the dead are cleared away. Used under the storage's lock.

    Raises OSError.
    """
    counts: Counter[Digest] = Counter()
    for path in directory.iterdir() if directory.is_dir() else ():
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:  # its owner has closed it by now
            continue
        with os.fdopen(descriptor, "r", encoding="ascii", errors="replace") as stream:
            if try_lock(descriptor):
                path.unlink(missing_ok=True)
                continue
            for line in stream:
                counts[line[1:].rstrip("\n")] += 1 if line.startswith("+") else -1
    return {digest for digest, count in counts.items() if count > 0}
