"""The directory that layers are written into: what a whiteout does there, and what becomes of missing parents.

Rules of image-spec 1.1.1, layer.md, "Representing Changes" and "Whiteouts".
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import stat
from collections.abc import Callable
from pathlib import Path

from polyarch.files import random_name
from polyarch.unpack.attributes import DEFAULT_ACL, set_attributes
from polyarch.unpack.beneath import Directory, Root, components

IMPLIED_MODE = 0o755
"""The mode of a directory that a layer only implies by naming something in it, where no lower layer has it."""

MAX_DEPTH = 250
"""Directories in each other; symlinks could otherwise make any depth out of short names."""


DIRECTORY_COUNTS = 2
"""Entries that a directory counts for besides, whether an entry names it or only implies it: `LayerLimits.take`."""


class Tree(Root):
    """The flat form: every layer goes into one directory, and a whiteout removes what lies there.

    A directory is made with mode 0700 and gets its own mode and time in `finish`, when nothing is written into it any
    more. One Tree takes all layers; `begin_layer` stands before each. `count` is told what new directories count for.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__(path)
        self._final: dict[bytes, tuple[int, int, bytes]] = {}
        self._own: set[bytes] | None = None
        self._make_missing = True
        self.max_depth = MAX_DEPTH
        self.count: Callable[[int], object] = lambda count: None
        self.set_final(self.top, IMPLIED_MODE, None)

    def begin_layer(self, first: bool) -> None:
        """A layer begins. What it brings is remembered, unless it is the first: its whiteouts have nothing to hide."""
        self._own = None if first else set()

    def into(self, parts: tuple[bytes, ...], make: bool = True) -> Directory:
        """The directory that `parts` lead to, for an entry that this layer brings.

        With `make` missing ones are made; without it, as for a whiteout, which brings nothing, FileNotFoundError is
        raised where no layer has them.
        """
        self._make_missing = make
        here = self.directory(parts)
        if make and self._own is not None:
            path = here.path
            while path and path not in self._own:
                self._own.add(path)
                path = path.rpartition(b"/")[0]
        return here

    def add(self, here: Directory, name: bytes) -> None:
        """This layer has `name`: its own whiteouts do not reach it."""
        if self._own is not None:
            self._own.add(here.child(name))

    def clear(self, here: Directory, name: bytes) -> None:
        """Remove what is in the way of a new entry."""
        remove(here, name)
        self.forget()

    def make_directory(self, here: Directory, name: bytes) -> tuple[Directory, bool]:
        """The directory `name`, and whether it is new; what else had the name is gone."""
        if len(components(here.path)) >= self.max_depth:
            raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))
        new = True
        try:
            os.mkdir(name, 0o700, dir_fd=here.fd)
        except FileExistsError:
            status = here.status(name)
            if status is not None and stat.S_ISDIR(status.st_mode):
                new = False
            else:
                self.clear(here, name)
                os.mkdir(name, 0o700, dir_fd=here.fd)
        made = here.open(name)
        if new:
            self.count(DIRECTORY_COUNTS)
            self.set_final(made, IMPLIED_MODE, None)
        return made, new

    def link_target(self, parts: tuple[bytes, ...]) -> tuple[Directory, os.stat_result]:
        """The directory and the status of what a hard link names; FileNotFoundError if nothing has that name."""
        self._make_missing = False
        here = self.directory(parts[:-1])
        status = here.status(parts[-1])
        if status is None:
            raise FileNotFoundError(errno.ENOENT, "its target does not exist")
        return here, status

    def set_final(self, directory: Directory, mode: int, mtime: int | None, default_acl: bytes = b"") -> None:
        """Mode, time (ns; None: as it comes) and default access list that `finish` gives to a directory: whatever was
        made in it before would have got that list, too.
        """
        time = os.fstat(directory.fd).st_mtime_ns if mtime is None else mtime
        self._final[directory.path] = (mode, time, default_acl)

    def hide(self, here: Directory, name: bytes) -> None:
        """A whiteout: what lower layers have under `name` is gone, what this layer has stays."""
        if self._own is not None and not self._remove_lower(here, name):
            self.forget()

    def hide_all(self, here: Directory) -> None:
        """An opaque whiteout: everything in `here` that comes from lower layers is gone."""
        if self._own is not None:
            for name in here.names():
                self._remove_lower(here, name)
            self.forget()

    def _remove_lower(self, here: Directory, name: bytes) -> bool:
        """Remove what is not of this layer under `name`; True if `name` itself is of this layer and stays."""
        assert self._own is not None
        if here.child(name) not in self._own:
            remove(here, name)
            return False
        status = here.status(name)
        if status is not None and stat.S_ISDIR(status.st_mode):
            below = here.open(name)
            for further in below.names():
                self._remove_lower(below, further)
        return True

    def finish(self) -> None:
        """Give every directory its mode and time, the innermost first."""
        self.forget()
        chain: list[Directory] = [self.top]
        for path in sorted(self._final, key=lambda path: path.split(b"/"), reverse=True):
            mode, mtime, default_acl = self._final[path]
            while chain[-1].path and not (path + b"/").startswith(chain[-1].path + b"/"):
                chain.pop()
            if _reach(chain, path):
                here = chain[-1]
                os.fchmod(here.fd, mode)
                if default_acl:
                    set_attributes(here.fd, {DEFAULT_ACL: default_acl})
                os.utime(here.fd, ns=(mtime, mtime))

    def _absent(self, here: Directory, part: bytes) -> bytes | None:
        if not self._make_missing:
            return super()._absent(here, part)
        self.make_directory(here, part)
        return None


def _reach(chain: list[Directory], path: bytes) -> bool:
    """Open what is missing between the last directory of a chain and the one at `path`, following no symlink. False
    where a whiteout has taken it away since it was made, or a later entry.
    """
    try:
        for part in components(path[len(chain[-1].path) :]):
            chain.append(chain[-1].open(part))
    except (FileNotFoundError, NotADirectoryError):
        return False
    return True


def remove_tree(path: Path) -> None:
    """Remove a directory and everything in it, whatever its modes and depth; nothing happens where there is none."""
    remove(Root(path.parent).top, os.fsencode(path.name))


def remove(here: Directory, name: bytes) -> None:
    """Remove an entry and all that is below it; nothing happens where there is none, or where others remove it, too.

    Full directories are first moved up into `here`, so that neither depth nor open files can run out. Modes are no
    obstacle to their owner.
    """
    numbers, token = itertools.count(), random_name(8).encode()  # one that was killed leaves names like these
    waiting = [name]
    while waiting:
        with contextlib.suppress(FileNotFoundError):
            waiting += _removed(here, waiting.pop(), lambda: b"%b-%d" % (token, next(numbers)))


def _removed(here: Directory, name: bytes, word: Callable[[], bytes]) -> list[bytes]:
    """Remove one entry; where the full directories in it were moved to."""
    status = here.status(name)
    if status is None:
        return []
    if not stat.S_ISDIR(status.st_mode):
        os.unlink(name, dir_fd=here.fd)
        return []
    os.chmod(name, 0o700, dir_fd=here.fd)
    folder, moved = here.open(name), []
    for inner in folder.names():
        with contextlib.suppress(FileNotFoundError):
            try:
                os.unlink(inner, dir_fd=folder.fd)
            except IsADirectoryError:
                with contextlib.suppress(OSError):  # an empty one goes at once
                    os.rmdir(inner, dir_fd=folder.fd)
                    continue
                # No image can have such a name: it is kept for whiteouts.
                place = b".wh..wh.gone-" + word()
                os.chmod(inner, 0o700, dir_fd=folder.fd)
                os.rename(inner, place, src_dir_fd=folder.fd, dst_dir_fd=here.fd)
                moved.append(place)
    with contextlib.suppress(FileNotFoundError):
        os.rmdir(name, dir_fd=here.fd)
    return moved
