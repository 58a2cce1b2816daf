"""Layers mounted above each other, with one directory on top that takes what is written."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from polyarch.container import syscalls
from polyarch.errors import HostError, printable
from polyarch.unpack.stack import Flavour

_UNSUPPORTED = (errno.ENODEV, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP)


def mount_overlay(lowers: Sequence[Path], upper: Path, work: Path, target: Path, flavour: Flavour) -> None:
    """Mount `lowers` (topmost first) below `upper` at `target`, in the mount namespace of this process.

    With the flavour `user` fuse-overlayfs stands in where the kernel cannot (before 5.11).
    Raises HostError, with what mends it.
    """
    try:
        _by_kernel(lowers, upper, work, target, flavour)
    except OSError as error:
        program = shutil.which("fuse-overlayfs")
        if flavour == "user" and error.errno in _UNSUPPORTED and program:
            by_fuse(program, lowers, upper, work, target)
        else:
            raise _refused(error, flavour, upper) from error


def _by_kernel(lowers: Sequence[Path], upper: Path, work: Path, target: Path, flavour: Flavour) -> None:
    """Each directory is named by the number of an open file: a page of options (mount(2)) holds hundreds of them."""
    place = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    opened: list[int] = []
    try:
        for path in (*lowers, upper, work):
            opened.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        os.chdir("/proc/self/fd")
        *below, above, beside = map(str, opened)
        options = f"lowerdir={':'.join(below)},upperdir={above},workdir={beside}"
        syscalls.mount("overlay", target, "overlay", 0, options + (",userxattr" if flavour == "user" else ""))
    finally:
        os.fchdir(place)
        for number in (place, *opened):
            os.close(number)


def by_fuse(program: str, lowers: Sequence[Path], upper: Path, work: Path, target: Path) -> None:
    """The same by fuse-overlayfs, whose process ends with this process's PID namespace. Raises HostError."""
    for path in (*lowers, upper, work):
        if set(str(path)) & set(":,\\"):
            raise HostError(f"fuse-overlayfs cannot use {path}: ':', ',' and '\\' separate its options", "use --root")
    options = f"lowerdir={':'.join(map(str, lowers))},upperdir={upper},workdir={work}"
    done = subprocess.run(
        [program, "-o", options, str(target)], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode != 0:
        said = printable(done.stderr.strip() or f"it ended with {done.returncode}", 300)
        raise HostError(f"fuse-overlayfs failed: {said}", "as root: chmod 666 /dev/fuse, if it may not be opened")


def _refused(error: OSError, flavour: Flavour, upper: Path) -> HostError:
    if error.errno == errno.ENODEV:
        return HostError("the kernel has no overlayfs", "as root: modprobe overlay")
    if error.errno == errno.EINVAL:
        return HostError(
            f"overlayfs does not take {upper.parent}: its file system cannot hold the upper layer",
            "choose a place on ext4, xfs, btrfs or tmpfs with --root",
        )
    if flavour == "user" and error.errno == errno.EPERM:
        return HostError("this kernel lets no user mount an overlay (5.11 and newer do)", "apt install fuse-overlayfs")
    return HostError(f"the layers cannot be mounted: {error.strerror}")
