"""Names resolved beneath a directory: by file descriptor, one component at a time, never by string.

What `openat2(2)` does with RESOLVE_IN_ROOT, on every kernel, and with a say in what is missing: a symlink is read and
followed inside the root, an absolute one starts at the root, `..` stops there, and no text with a slash ever reaches
the kernel.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from typing import BinaryIO

DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC

MAX_LINKS = 40  # Linux, namei.h: MAXSYMLINKS
_MAX_KEPT = 64  # directories kept open: a name may have 2,000 components


def components(path: bytes) -> list[bytes]:
    """A path cut at its slashes, without empty parts and `.`; `..` stays."""
    return [part for part in path.split(b"/") if part not in (b"", b".")]


def followed(path: bytes, link_at: Callable[[bytes], bytes | None]) -> bytes:
    """A path without symlinks, `.` and `..`, from the root and without a slash in front.

    `link_at` tells where the symlink at such a path leads, None of what is none. Raises OSError for a loop.
    """
    todo = components(path)[::-1]
    done = b""
    links = 0
    while todo:
        part = todo.pop()
        if part == b"..":
            done = done.rpartition(b"/")[0]
            continue
        here = done + b"/" + part if done else part
        target = link_at(here)
        if target is None:
            done = here
            continue
        links += 1
        if links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(path))
        todo += components(target)[::-1]
        done = b"" if target.startswith(b"/") else done
    return done


class Directory:
    """An open directory. `path` leads to it from the root without any symlink; b"" is the root.

    Closed with its last reference, as files are.
    """

    __slots__ = ("fd", "path")

    def __init__(self, fd: int, path: bytes) -> None:
        self.fd = fd
        self.path = path

    def __del__(self) -> None:
        os.close(self.fd)

    def open(self, name: bytes) -> Directory:
        """The directory `name` in this one; NotADirectoryError for a symlink too."""
        return Directory(os.open(name, DIRECTORY, dir_fd=self.fd), self.child(name))

    def child(self, name: bytes) -> bytes:
        """The path of an entry of this directory."""
        return self.path + b"/" + name if self.path else name

    def names(self) -> list[bytes]:
        """The names of all entries."""
        with os.scandir(self.fd) as entries:
            return [os.fsencode(entry.name) for entry in entries]

    def status(self, name: bytes) -> os.stat_result | None:
        """What `lstat` says of an entry; None where there is none."""
        try:
            return os.stat(name, dir_fd=self.fd, follow_symlinks=False)
        except FileNotFoundError:
            return None


class Root:
    """The directory `path` as the root of all names. Raises OSError as the kernel would for its own root."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.top = Directory(os.open(path, DIRECTORY), b"")
        self._chain: list[tuple[bytes, Directory]] = []
        self._links = 0

    def forget(self) -> None:
        """Let go of the directories kept open: to be called when one may have been removed or replaced."""
        self._chain.clear()

    def directory(self, parts: Sequence[bytes]) -> Directory:
        """The directory that `parts` lead to."""
        self._links = 0
        kept = 0
        for (name, _), part in zip(self._chain, parts, strict=False):
            if name != part:
                break
            kept += 1
        del self._chain[kept:]
        here = self._chain[-1][1] if self._chain else self.top
        for depth, part in enumerate(parts[kept:], kept):
            here = self._step(here, part)
            if depth < _MAX_KEPT:
                self._chain.append((part, here))
        return here

    def _step(self, here: Directory, part: bytes) -> Directory:
        """The directory called `part` in `here`, through symlinks."""
        if part == b"..":
            return self._upward(here)
        try:
            return here.open(part)
        except FileNotFoundError:
            target = self._absent(here, part)
        except NotADirectoryError:  # O_NOFOLLOW with O_DIRECTORY says so of a symlink too
            target = self._in_the_way(here, part)
        if target is None:
            return here.open(part)
        self._count_link(part)
        if target.startswith(b"/"):
            here = self.top
        for further in components(target):
            here = self._step(here, further)
        return here

    def _upward(self, here: Directory) -> Directory:
        above = self.top
        for part in components(here.path)[:-1]:
            above = above.open(part)
        return above

    def _count_link(self, name: bytes) -> None:
        self._links += 1
        if self._links > MAX_LINKS:
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(name))

    def _absent(self, here: Directory, part: bytes) -> bytes | None:
        """Nothing is called `part`: the target of a symlink to follow, or None once such a directory is there."""
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), os.fsdecode(here.child(part)))

    def _in_the_way(self, here: Directory, part: bytes) -> bytes | None:
        """What is called `part` is no directory: the same answers."""
        try:
            return os.readlink(part, dir_fd=here.fd)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), os.fsdecode(here.child(part))) from None

    def resolve(self, path: bytes) -> tuple[Directory, bytes, os.stat_result]:
        """What `path` names, through symlinks, the last one too: its directory, its name there (`.` of a directory that
        a path ends in without naming it), its status.
        """
        here = self.top
        for _ in range(MAX_LINKS):
            base = [] if path.startswith(b"/") else components(here.path)
            *parents, name = [b".", *base, *components(path)]
            here = self.directory([part for part in parents if part != b"."])
            if name == b"..":
                here, name = self._upward(here), b"."
            status = os.stat(name, dir_fd=here.fd, follow_symlinks=False)
            if not stat.S_ISLNK(status.st_mode):
                return here, name, status
            path = os.readlink(name, dir_fd=here.fd)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), os.fsdecode(path))

    def open(self, path: bytes) -> BinaryIO:
        """A regular file, to be read."""
        here, name, status = self.resolve(path)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a regular file", os.fsdecode(path))
        return os.fdopen(
            os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=here.fd), "rb"
        )

    def read(self, path: bytes, limit: int) -> bytes:
        """The first `limit` bytes of a regular file."""
        with self.open(path) as file:
            return file.read(limit)
