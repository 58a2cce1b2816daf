"""Layers in directories of their own, lying above each other: how one marks what it hides, and what is seen of all."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

from polyarch.files import random_name
from polyarch.unpack.beneath import Directory, components
from polyarch_platforms.lazy_dataclass import dataclass

Flavour = Literal["trusted", "user", "fuse"]
"""How a layer marks what it hides.

`trusted`, `user`: as the kernel's overlayfs does (Documentation/filesystems/overlayfs.rst, "whiteouts and opaque
directories"): a character device 0/0, and an extended attribute on a directory, root's own one or, for mounts with
`userxattr`, anybody's. `fuse`: as fuse-overlayfs does where it may not make that device: by files `.wh.NAME` and
`.wh..wh..opq`, as in a layer's archive.
"""

# image-spec 1.1.1, layer.md, "Whiteouts".
WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"

_BY_FUSE = "user.fuseoverlayfs.opaque"  # beside which it makes the file OPAQUE
_ATTRIBUTES: dict[Flavour, tuple[str, ...]] = {
    "trusted": ("trusted.overlay.opaque",),
    "user": ("user.overlay.opaque", _BY_FUSE),  # fuse-overlayfs stands in for the kernel
    "fuse": (_BY_FUSE,),
}
_LONGEST_HIDDEN = 255 - len(WHITEOUT)  # Linux, limits.h: NAME_MAX


class Marks:
    """What a layer of a flavour hides of those below it, read and written."""

    def __init__(self, flavour: Flavour) -> None:
        self._files = flavour == "fuse"
        self._attributes = _ATTRIBUTES[flavour]

    def is_whiteout(self, here: Directory, name: bytes, status: os.stat_result | None) -> bool:
        """Whether `name`, whose `status` in that directory it is, is hidden there."""
        if status is not None:
            return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0
        return self._files and len(name) <= _LONGEST_HIDDEN and here.status(WHITEOUT + name) is not None

    def is_opaque(self, here: Directory) -> bool:
        """Whether nothing of the lower layers is seen in the directory."""
        if self._files and here.status(OPAQUE) is not None:
            return True
        return any(_has(here, attribute) for attribute in self._attributes)

    def entries(self, here: Directory) -> Iterator[tuple[bytes, os.stat_result | None]]:
        """Each name that the directory has, with its status, or hides, with None."""
        left_by_fuse = not self._files and _BY_FUSE in self._attributes and _has(here, _BY_FUSE)
        for name in here.names():
            if self._files and name.startswith(WHITEOUT):
                if not name.startswith(WHITEOUT + WHITEOUT):
                    yield name.removeprefix(WHITEOUT), None
            elif not (left_by_fuse and name == OPAQUE) and (status := here.status(name)) is not None:
                yield name, None if self.is_whiteout(here, name, status) else status

    def hide(self, here: Directory, name: bytes) -> None:
        """Make a whiteout; the directory has nothing of that name."""
        if self._files:
            _touch(here, WHITEOUT + name)
        else:
            os.mknod(name, stat.S_IFCHR, os.makedev(0, 0), dir_fd=here.fd)

    def unhide(self, here: Directory, name: bytes) -> None:
        """Take a whiteout away, if there is one and it is not what bears the name itself."""
        if self._files and len(name) <= _LONGEST_HIDDEN:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(WHITEOUT + name, dir_fd=here.fd)

    def make_opaque(self, here: Directory) -> None:
        """Let nothing of the lower layers be seen in the directory."""
        if self._files:
            _touch(here, OPAQUE)
        else:
            os.setxattr(here.fd, self._attributes[0], b"y")


def takes_marks(directory: Path, flavour: Literal["trusted", "user"]) -> bool:
    """Whether the file system takes the marks of the flavour: overlayfs itself, for one, makes no whiteouts.

    Nobody needs a privilege for one (since Linux 5.8). Raises OSError for what has nothing to do with that.
    """
    probe = directory / f".polyarch-{random_name(6)}"
    attribute = f"{flavour}.{probe.name}"
    try:
        os.mknod(probe, stat.S_IFCHR, os.makedev(0, 0))
        probe.unlink(missing_ok=True)  # another process may clear away what it knows nobody for
        os.setxattr(directory, attribute, b"")
        os.removexattr(directory, attribute)
    except OSError as error:
        if error.errno in (errno.EPERM, errno.ENOTSUP, errno.EINVAL):
            return False
        raise
    return True


@dataclass(frozen=True, slots=True)
class Found:
    """The topmost of what has a name: the directory it lies in, its name there and its status.

    `stack` is what lies below it, where it is a directory.
    """

    directory: Directory
    name: bytes
    status: os.stat_result
    stack: Stack


class Stack:
    """One directory as it is seen through all layers: `parts` are the directories that make it up, topmost first."""

    __slots__ = ("_marks", "_parts")

    def __init__(self, parts: Sequence[Directory], marks: Marks) -> None:
        self._parts = parts
        self._marks = marks

    @property
    def topmost(self) -> Directory:
        """The directory of the topmost layer; there is one."""
        return self._parts[0]

    def find(self, name: bytes) -> Found | None:
        """What has that name in the directory."""
        topmost: tuple[Directory, os.stat_result] | None = None
        below: list[Directory] = []
        for part in self._parts:
            status = part.status(name)
            if self._marks.is_whiteout(part, name, status):
                break
            if status is None:
                continue
            topmost = topmost or (part, status)
            if not stat.S_ISDIR(status.st_mode):
                break
            below.append(part.open(name))
            if self._marks.is_opaque(below[-1]):
                break
        if topmost is None:
            return None
        return Found(topmost[0], name, topmost[1], Stack(below, self._marks))

    def at(self, path: bytes) -> Found | None:
        """What lies at a path below the directory; symlinks are not followed."""
        found: Found | None = None
        for part in components(path):
            if found is not None and not stat.S_ISDIR(found.status.st_mode):
                return None
            found = (found.stack if found is not None else self).find(part)
            if found is None:
                return None
        return found

    def names(self) -> set[bytes]:
        """All names that are seen in the directory."""
        seen: set[bytes] = set()
        for part in reversed(self._parts):
            for name, status in self._marks.entries(part):
                (seen.discard if status is None else seen.add)(name)
        return seen


def _has(here: Directory, attribute: str) -> bool:
    try:
        return os.getxattr(here.fd, attribute) == b"y"
    except OSError as error:
        if error.errno in (errno.ENODATA, errno.ENOTSUP):
            return False
        raise


def _touch(here: Directory, name: bytes) -> None:
    os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=here.fd))
