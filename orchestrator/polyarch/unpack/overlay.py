"""The overlay form: a directory that holds one layer alone, to be mounted above those of its lower layers.

Whiteouts as the kernel's overlayfs has them: Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
directories": a character device 0/0, and an extended attribute on a directory.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from polyarch.unpack.attributes import attributes_of, set_attributes
from polyarch.unpack.beneath import Directory, Root, components
from polyarch.unpack.tree import Tree

Flavour = Literal["trusted", "user"]
"""Whose extended attributes overlayfs uses: `trusted` takes root, `user` is for mounts with `userxattr`."""


def is_whiteout(status: os.stat_result) -> bool:
    """True for overlayfs' mark of a hidden name."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


class OverlayTree(Tree):
    """One layer in the directory `path`; `lowers` are the directories of the layers below it, the nearest first.

    A directory that the layer only implies gets owner, mode, time and attributes of the one below (its owner only with
    `owners`). Symlinks of lower layers are followed; a hard link to a file of a lower layer brings a copy of it.
    """

    def __init__(self, path: Path, lowers: Sequence[Path], flavour: Flavour, owners: bool) -> None:
        self._lowers = [Root(lower).top for lower in lowers]
        self._opaque = f"{flavour}.overlay.opaque"
        self._owners = owners
        self._hidden: set[bytes] = set()  # below these no lower layer is seen
        self._for_whiteouts: set[bytes] = set()  # directories that hold nothing but whiteouts
        super().__init__(path)
        if self._lowers:
            self._take_after(self.top, self._lowers[0])

    def into(self, parts: tuple[bytes, ...], make: bool = True) -> Directory:
        self._make_missing = make
        here = self.directory(parts)
        if make:
            self._keep(here.path)
        return here

    def add(self, here: Directory, name: bytes) -> None:
        self._keep(here.child(name))

    def _keep(self, path: bytes) -> None:
        while self._for_whiteouts and path:
            self._for_whiteouts.discard(path)
            path = path.rpartition(b"/")[0]

    def make_directory(self, here: Directory, name: bytes) -> tuple[Directory, bool]:
        status = here.status(name)
        made, new = super().make_directory(here, name)
        if status is not None and is_whiteout(status):
            self._hide_below(made)
        return made, new

    def hide(self, here: Directory, name: bytes) -> None:
        if here.child(name) in self._for_whiteouts:
            self.clear(here, name)
        status = here.status(name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            self._hide_below(here.open(name))
        elif status is None and self._below(here.child(name)) is not None:
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=here.fd)

    def hide_all(self, here: Directory) -> None:
        self._hide_below(here)

    def finish(self) -> None:
        """As for every tree; an opaque root, which overlayfs does not know, becomes whiteouts of all names below it."""
        if b"" in self._hidden:
            for name in {name for lower in self._lowers for name in lower.names()}:
                status = self.top.status(name)
                if status is None:
                    os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=self.top.fd)
                elif stat.S_ISDIR(status.st_mode):
                    self._hide_below(self.top.open(name))
        super().finish()

    def link_target(self, parts: tuple[bytes, ...]) -> tuple[Directory, os.stat_result]:
        self._make_missing = False
        here = self.directory(parts[:-1])
        status = here.status(parts[-1])
        if status is None and (found := self._below(here.child(parts[-1]))) is not None:
            self._copy(here, parts[-1], *found)
            status = here.status(parts[-1])
        if status is None or is_whiteout(status):
            raise FileNotFoundError(errno.ENOENT, "its target does not exist")
        return here, status

    def _hide_below(self, directory: Directory) -> None:
        if directory.path and self._lowers:
            os.setxattr(directory.fd, self._opaque, b"y")
        self._hidden.add(directory.path)
        self._drop_whiteouts(directory)

    def _drop_whiteouts(self, directory: Directory) -> None:
        """Whiteouts below a directory that no lower layer shows through: overlayfs would list them as broken files."""
        for name in directory.names():
            status = directory.status(name)
            if status is None:
                continue
            if is_whiteout(status) or directory.child(name) in self._for_whiteouts:
                self.clear(directory, name)
            elif stat.S_ISDIR(status.st_mode):
                self._drop_whiteouts(directory.open(name))

    def _is_hidden(self, path: bytes) -> bool:
        while path not in self._hidden:
            if not path:
                return False
            path = path.rpartition(b"/")[0]
        return True

    def _below(self, path: bytes) -> tuple[Directory, bytes, os.stat_result] | None:
        """What the lower layers together have at `path`: directory, name and status of the topmost; None: nothing."""
        if self._is_hidden(path):
            return None
        merged = self._lowers
        found: tuple[Directory, bytes, os.stat_result] | None = None
        for part in components(path):
            if found is not None and not stat.S_ISDIR(found[2].st_mode):
                return None
            found, merged = self._look_up(merged, part)
            if found is None:
                return None
        return found

    def _look_up(
        self, merged: list[Directory], name: bytes
    ) -> tuple[tuple[Directory, bytes, os.stat_result] | None, list[Directory]]:
        """`name` in directories that lie above each other: the topmost, and the directories that it is made of."""
        found = None
        directories: list[Directory] = []
        for lower in merged:
            status = lower.status(name)
            if status is None:
                continue
            if is_whiteout(status):
                break
            if not stat.S_ISDIR(status.st_mode):
                found = found or (lower, name, status)
                break
            found = found or (lower, name, status)
            directories.append(lower.open(name))
            if self._is_opaque(directories[-1]):
                break
        return found, directories

    def _is_opaque(self, directory: Directory) -> bool:
        try:
            return os.getxattr(directory.fd, self._opaque) == b"y"
        except OSError as error:
            if error.errno in (errno.ENODATA, errno.ENOTSUP):
                return False
            raise

    def _absent(self, here: Directory, part: bytes) -> bytes | None:
        path = here.child(part)
        found = self._below(path)
        if found is None:
            target = super()._absent(here, part)
            self._hidden.add(path)  # so that nobody looks there again
            return target
        lower, name, status = found
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(name, dir_fd=lower.fd)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not self._make_missing:
            self._for_whiteouts.add(path)
        made, _ = self.make_directory(here, part)
        self._take_after(made, lower.open(name))
        return None

    def _in_the_way(self, here: Directory, part: bytes) -> bytes | None:
        status = here.status(part)
        if status is None or not is_whiteout(status):
            return super()._in_the_way(here, part)
        if not self._make_missing:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self.make_directory(here, part)
        return None

    def _take_after(self, directory: Directory, lower: Directory) -> None:
        """Give a directory what the one of the lower layer has."""
        status = os.fstat(lower.fd)
        if self._owners:
            os.fchown(directory.fd, status.st_uid, status.st_gid)
        set_attributes(directory.fd, attributes_of(lower.fd))
        self.set_final(directory, stat.S_IMODE(status.st_mode), status.st_mtime_ns)

    def _copy(self, here: Directory, name: bytes, lower: Directory, source: bytes, status: os.stat_result) -> None:
        """Bring a regular file of a lower layer into this one."""
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "its target is no regular file")
        flags = os.O_NOFOLLOW | os.O_CLOEXEC
        with (
            os.fdopen(os.open(source, os.O_RDONLY | flags, dir_fd=lower.fd), "rb") as old,
            os.fdopen(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | flags, 0o600, dir_fd=here.fd), "wb") as new,
        ):
            while data := old.read(1 << 20):
                new.write(data)
            new.flush()
            if self._owners:
                os.fchown(new.fileno(), status.st_uid, status.st_gid)
            os.fchmod(new.fileno(), stat.S_IMODE(status.st_mode))
            set_attributes(new.fileno(), attributes_of(old.fileno()))
            os.utime(new.fileno(), ns=(status.st_mtime_ns, status.st_mtime_ns))
