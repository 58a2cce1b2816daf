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

from polyarch.contract import Digest
from polyarch_plugins.storages.oci.locks import try_lock

_MODE = 0o644


class Lease:
    """The blobs that one open storage counts on, each as often as it was asked for. Used under the storage's lock.

    The file has a line for each change, `+DIGEST` or `-DIGEST`. All methods raise OSError.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._path: Path | None = None
        self._descriptor = -1
        self._size = 0
        # By thread: a thread that removes images is not in the middle of a pull, so what it counted on is over.
        self._counted: dict[int, Counter[Digest]] = {}

    def add(self, digest: Digest) -> None:
        """Count on a blob, for this thread, from now on."""
        if self._path is None:
            path = self.directory / uuid.uuid4().hex
            self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE)
            self._path = path
            try_lock(self._descriptor)
        self._append(f"+{digest}\n")
        self._counted.setdefault(threading.get_ident(), Counter())[digest] += 1

    def drop(self, digests: Iterable[Digest]) -> None:
        """Count once less on each of the blobs: they are named by now."""
        for digest in digests:
            mine = self._counted.get(threading.get_ident(), Counter[Digest]())
            for counts in (mine, *self._counted.values()):
                if counts[digest] > 0:
                    self._append(f"-{digest}\n")
                    counts[digest] -= 1
                    break

    def forget(self, digests: Iterable[Digest]) -> None:
        """Count on none of the blobs any more, however often and by whichever thread they were asked for."""
        for digest in digests:
            for counts in self._counted.values():
                for _ in range(counts.pop(digest, 0)):
                    self._append(f"-{digest}\n")

    def drop_own(self) -> None:
        """Count no longer on what this thread has asked for."""
        for digest in self._counted.pop(threading.get_ident(), Counter[Digest]()).elements():
            self._append(f"-{digest}\n")

    def close(self) -> None:
        """Count on nothing any more."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)
            os.close(self._descriptor)
        self._path, self._descriptor, self._size = None, -1, 0
        self._counted.clear()

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
