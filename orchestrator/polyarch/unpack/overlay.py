"""The overlay form: a directory that holds one layer alone, to be mounted above those of its lower layers."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path

from polyarch.unpack.attributes import DEFAULT_ACL, attributes_of, set_attributes
from polyarch.unpack.beneath import Directory, Root
from polyarch.unpack.stack import Flavour, Found, Marks, Stack
from polyarch.unpack.tree import Tree


class OverlayTree(Tree):
    """One layer in the directory `path`; `lowers` are the directories of the layers below it, the nearest first.

    A directory that the layer only implies gets owner, mode, time and attributes of the one below (its owner only with
    `owners`). Symlinks of lower layers are followed; a hard link to a file of a lower layer brings a copy of it.
    The lower layers may be on their way as well: `wait` is called before they are looked at for the first time, and
    returns when they are whole.
    """

    def __init__(
        self,
        path: Path,
        lowers: Sequence[Path],
        flavour: Flavour,
        owners: bool,
        wait: Callable[[], None] = lambda: None,
    ) -> None:
        self._lowers = lowers
        self._wait = wait
        self._marks = Marks(flavour)
        self._owners = owners
        self._root_is_named = False
        self._hidden: set[bytes] = set()  # below these no lower layer is seen
        self._for_whiteouts: set[bytes] = set()  # directories that hold nothing but whiteouts
        self._copies: set[bytes] = set()  # names that hard links brought here, and this layer itself does not
        self._copied: dict[tuple[int, int], tuple[Directory, bytes, int]] = {}
        super().__init__(path)
        self._root_is_named = False

    @cached_property
    def _stack(self) -> Stack:
        if self._lowers:
            self._wait()
        return Stack([Root(lower).top for lower in self._lowers], self._marks)

    def set_final(self, directory: Directory, mode: int, mtime: int | None, default_acl: bytes = b"") -> None:
        self._root_is_named = self._root_is_named or not directory.path
        super().set_final(directory, mode, mtime, default_acl)

    def into(self, parts: tuple[bytes, ...], make: bool = True) -> Directory:
        self._make_missing = make
        here = self.directory(parts)
        if make:
            self._keep(here.path)
        return here

    def add(self, here: Directory, name: bytes) -> None:
        self._marks.unhide(here, name)
        self._forget_copy(here, name)
        self._keep(here.child(name))

    def _keep(self, path: bytes) -> None:
        while self._for_whiteouts and path:
            self._for_whiteouts.discard(path)
            path = path.rpartition(b"/")[0]

    def make_directory(self, here: Directory, name: bytes) -> tuple[Directory, bool]:
        status = here.status(name)
        hidden = self._marks.is_whiteout(here, name, status)
        made, new = super().make_directory(here, name)
        if hidden or (status is not None and not stat.S_ISDIR(status.st_mode)):
            self._marks.unhide(here, name)
            self._hide_below(made)
        return made, new

    def hide(self, here: Directory, name: bytes) -> None:
        if self._is_no_entry(here, name):
            self.clear(here, name)
        status = here.status(name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            self._hide_below(here.open(name))
        elif status is None and self._below(here.child(name)) is not None:
            self._marks.hide(here, name)

    def hide_all(self, here: Directory) -> None:
        self._hide_below(here)

    def finish(self) -> None:
        """As for every tree. The root takes after the one below where the layer does not name it; an opaque root, which
        overlayfs does not know, becomes whiteouts of all names below it.
        """
        if self._lowers and not self._root_is_named:
            self._take_after(self.top, self._stack.topmost)
        if b"" in self._hidden:
            for name in self._stack.names():
                status = self.top.status(name)
                if status is None:
                    self._marks.hide(self.top, name)
                elif stat.S_ISDIR(status.st_mode):
                    self._hide_below(self.top.open(name))
        super().finish()

    def link_target(self, parts: tuple[bytes, ...]) -> tuple[Directory, os.stat_result]:
        self._make_missing = False
        here = self.directory(parts[:-1])
        status = here.status(parts[-1])
        hidden = self._marks.is_whiteout(here, parts[-1], status)
        if status is None and not hidden and (found := self._below(here.child(parts[-1]))) is not None:
            self._copy(here, parts[-1], found)
            status = here.status(parts[-1])
        if status is None or hidden:
            raise FileNotFoundError(errno.ENOENT, "its target does not exist")
        return here, status

    def _is_no_entry(self, here: Directory, name: bytes) -> bool:
        """Whether what has the name is there for whiteouts and links alone: this layer brings nothing of that name."""
        path = here.child(name)
        return path in self._for_whiteouts or path in self._copies

    def clear(self, here: Directory, name: bytes) -> None:
        self._forget_copy(here, name)
        super().clear(here, name)

    def _forget_copy(self, here: Directory, name: bytes) -> None:
        path = here.child(name)
        if path in self._copies:
            self._copies.remove(path)
            self._copied = {key: copy for key, copy in self._copied.items() if copy[0].child(copy[1]) != path}

    def _hide_below(self, directory: Directory) -> None:
        if directory.path and self._lowers:
            self._marks.make_opaque(directory)
        self._hidden.add(directory.path)
        self._drop_whiteouts(directory)

    def _drop_whiteouts(self, directory: Directory) -> None:
        """Whiteouts below a directory that no lower layer shows through: overlayfs would list them as broken files."""
        for name, status in list(self._marks.entries(directory)):
            if status is None:
                self._marks.unhide(directory, name)
            if status is None or self._is_no_entry(directory, name):
                self.clear(directory, name)
            elif stat.S_ISDIR(status.st_mode):
                self._drop_whiteouts(directory.open(name))

    def _is_hidden(self, path: bytes) -> bool:
        while path not in self._hidden:
            if not path:
                return False
            path = path.rpartition(b"/")[0]
        return True

    def _below(self, path: bytes) -> Found | None:
        """What the lower layers together have at `path`."""
        return None if not self._lowers or self._is_hidden(path) else self._stack.at(path)

    def _absent(self, here: Directory, part: bytes) -> bytes | None:
        if self._marks.is_whiteout(here, part, None):
            return self._instead_of_whiteout(here, part)
        path = here.child(part)
        found = self._below(path)
        if found is None:
            target = super()._absent(here, part)
            self._hidden.add(path)  # so that nobody looks there again
            return target
        if stat.S_ISLNK(found.status.st_mode):
            return os.readlink(found.name, dir_fd=found.directory.fd)
        if not stat.S_ISDIR(found.status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        if not self._make_missing:
            self._for_whiteouts.add(path)
        made, _ = self.make_directory(here, part)
        self._take_after(made, found.directory.open(found.name))
        return None

    def _in_the_way(self, here: Directory, part: bytes) -> bytes | None:
        status = here.status(part)
        if not self._marks.is_whiteout(here, part, status):
            return super()._in_the_way(here, part)
        return self._instead_of_whiteout(here, part)

    def _instead_of_whiteout(self, here: Directory, part: bytes) -> bytes | None:
        """None once a directory has taken the place of a whiteout."""
        if not self._make_missing:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
        self.make_directory(here, part)
        return None

    def _take_after(self, directory: Directory, lower: Directory) -> None:
        """Give a directory what the one of the lower layer has."""
        status = os.fstat(lower.fd)
        if self._owners:
            os.fchown(directory.fd, status.st_uid, status.st_gid)
        attributes = attributes_of(lower.fd)
        default_acl = attributes.pop(DEFAULT_ACL, b"")
        set_attributes(directory.fd, attributes)
        self.set_final(directory, stat.S_IMODE(status.st_mode), status.st_mtime_ns, default_acl)

    def _copy(self, here: Directory, name: bytes, found: Found) -> None:
        """Bring what a lower layer has into this one: under all its names the same."""
        status = found.status
        if stat.S_ISDIR(status.st_mode):
            raise OSError(errno.EISDIR, "a hard link to a directory")
        self._copies.add(here.child(name))
        key = status.st_dev, status.st_ino
        there, other, number = self._copied.get(key, (here, name, 0))
        known = there.status(other) if number else None
        if known is not None and known.st_ino == number:
            os.link(other, name, src_dir_fd=there.fd, dst_dir_fd=here.fd, follow_symlinks=False)
            return
        if stat.S_ISREG(status.st_mode):
            self._copy_file(here, name, found)
        elif stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(found.name, dir_fd=found.directory.fd), name, dir_fd=here.fd)
        else:
            os.mknod(name, status.st_mode, status.st_rdev, dir_fd=here.fd)
        if not stat.S_ISREG(status.st_mode):
            if self._owners:
                os.chown(name, status.st_uid, status.st_gid, dir_fd=here.fd, follow_symlinks=False)
            if not stat.S_ISLNK(status.st_mode):  # after its owner, with whom set-ID bits go
                os.chmod(name, stat.S_IMODE(status.st_mode), dir_fd=here.fd)
            times = status.st_mtime_ns, status.st_mtime_ns
            os.utime(name, ns=times, dir_fd=here.fd, follow_symlinks=False)
        made = here.status(name)
        if made is not None:
            self._copied[key] = here, name, made.st_ino

    def _copy_file(self, here: Directory, name: bytes, found: Found) -> None:
        status = found.status
        flags = os.O_NOFOLLOW | os.O_CLOEXEC
        with (
            os.fdopen(os.open(found.name, os.O_RDONLY | flags, dir_fd=found.directory.fd), "rb") as old,
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
