"""Overlays over made directories, mounted in a namespace of a child process, and what is seen in them."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import signal
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

from polyarch.container.changes import Change
from polyarch.container.overlay import by_fuse, mount_overlay
from polyarch.unpack.image import unpack_layer
from polyarch.unpack.stack import Flavour
from support.isolation import CannotIsolate, isolated, own_mounts
from support.layers import diff_id, file, folder, layer, opener, symlink

T = TypeVar("T")
FLAVOURS: tuple[Flavour, ...] = ("trusted", "user", "fuse")


def inside(lowers: list[Path], place: Path, flavour: Flavour, action: Callable[[Path], T]) -> T:
    """Mount `lowers`, the topmost first, below `place`/upper, and call `action` with the merged directory in a child.

    `trusted` as root, `user` in a user namespace, `fuse` there by fuse-overlayfs. Skips what this machine cannot do.
    """
    for name in ("upper", "work", "merged"):
        (place / name).mkdir(exist_ok=True)
    program = fuse_overlayfs() if flavour == "fuse" else ""
    upper, work, merged = place / "upper", place / "work", place / "merged"

    def mounted() -> T:
        signal.alarm(60)  # of the child alone: what hangs in a mount ends
        if flavour == "fuse":
            by_fuse(program, lowers, upper, work, merged)
        else:
            mount_overlay(lowers, upper, work, merged, flavour)
        try:
            return action(merged)
        finally:  # fuse-overlayfs lives on in the namespace otherwise
            ctypes.CDLL(None).umount2(os.fsencode(merged), 0)

    if flavour == "trusted":
        if os.geteuid() != 0:
            pytest.skip("only root mounts overlays without a user namespace")
        return own_mounts(mounted)
    try:
        return isolated(mounted)
    except CannotIsolate as reason:
        pytest.skip(str(reason))


def fuse_overlayfs() -> str:
    """The program, or a skip where it cannot work."""
    program = shutil.which("fuse-overlayfs")
    if program is None or not os.access("/dev/fuse", os.R_OK | os.W_OK):
        pytest.skip("fuse-overlayfs is not installed, or /dev/fuse may not be opened")
    return program


Facts = tuple[object, ...]


def tree(top: Path) -> dict[bytes, Facts]:
    """Everything below a directory: path from there -> what it is, its time and all its names included."""
    found: dict[bytes, Facts] = {}
    names: dict[tuple[int, int], set[bytes]] = {}
    for above, folders, files in os.walk(os.fsencode(top)):
        for name in (*folders, *files):
            path = os.path.join(above, name)  # noqa: PTH118  # bytes
            short = path[len(os.fsencode(top)) + 1 :]
            found[short] = _facts(path)
            status = os.lstat(path)
            if not stat.S_ISDIR(status.st_mode):
                names.setdefault((status.st_dev, status.st_ino), set()).add(short)
    several = {name: frozenset(group) for group in names.values() if len(group) > 1 for name in group}
    return {path: (*facts, several.get(path)) for path, facts in found.items()}


def _facts(path: bytes) -> Facts:
    status = os.lstat(path)
    kind = stat.S_IFMT(status.st_mode)
    content: object = None
    attributes: list[tuple[str, bytes]] = []
    if kind == stat.S_IFLNK:
        content = os.readlink(path)  # noqa: PTH115
    elif kind == stat.S_IFREG:
        with open(path, "rb") as stream:  # noqa: PTH123
            content = stream.read()
    elif kind in (stat.S_IFCHR, stat.S_IFBLK):
        content = status.st_rdev
    if kind in (stat.S_IFREG, stat.S_IFDIR):
        with contextlib.suppress(OSError):
            names = [name for name in os.listxattr(path) if "overlay" not in name]
            attributes = sorted((name, os.getxattr(path, name)) for name in names)
    return kind, status.st_mode, status.st_uid, status.st_gid, status.st_mtime_ns, content, tuple(attributes)


def compared(before: dict[bytes, Facts], after: dict[bytes, Facts]) -> list[str]:
    """The changes from one tree to the other, as `docker diff` prints them, found by looking at everything."""
    kinds: dict[bytes, str] = {}
    for path, facts in after.items():
        parent = path.rpartition(b"/")[0]
        new = path not in before or (parent and (parent not in kept(before, after)))
        if new:
            kinds[path] = "A"
        elif facts != before[path]:
            kinds[path] = "C"
    for path in before:
        parent = path.rpartition(b"/")[0]
        if path not in after and (not parent or parent in kept(before, after)):
            kinds[path] = "D"
    for path in list(kinds):
        while path := path.rpartition(b"/")[0]:
            kinds.setdefault(path, "C")
    return [f"{kinds[path]} /{os.fsdecode(path)}" for path in sorted(kinds)]


def kept(before: dict[bytes, Facts], after: dict[bytes, Facts]) -> set[bytes]:
    """What is a directory in both."""
    return {path for path in after if path in before and before[path][0] == after[path][0] == stat.S_IFDIR}


# An image of two layers.
BASE = layer(
    folder("etc"),
    file("etc/passwd", "root"),
    file("etc/group", "groups"),
    file("etc/hidden", "hidden by the layer above"),
    folder("usr"),
    folder("usr/lib"),
    file("usr/lib/a", "a"),
    file("usr/lib/b", "b"),
    folder("usr/lib/deep"),
    file("usr/lib/deep/x", "x"),
    symlink("link", "etc/passwd"),
    file(b"caf\xe9", "no UTF-8"),
    folder("run"),
    folder("var"),
    symlink("var/run", "/run"),
)
ABOVE = layer(folder("etc"), file("etc/.wh.hidden"), file("etc/upper", "of the upper layer"), folder("opt"))


def image(place: Path, flavour: Flavour) -> list[Path]:
    """The two layers, unpacked, the topmost first."""
    lowers: list[Path] = []
    for number, data in enumerate((BASE, ABOVE)):
        directory = place / f"layer-{number}"
        unpack_layer(opener(data), diff_id(data), directory, lowers, flavour=flavour, owners=True, sync=False)
        lowers.insert(0, directory)
    return lowers


def shown(found: list[Change]) -> list[str]:
    return [f"{each.kind} {each.path}" for each in found]
