"""Layers mounted above each other, with one directory on top that takes what is written."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from pathlib import Path

from polyarch.container import syscalls
from polyarch.container.reaper import leave_reaper
from polyarch.errors import HostError, printable
from polyarch.files import program as find_program
from polyarch.unpack.stack import Flavour
from polyarch_platforms.qemu import kernel_version

_FUSE = "/dev/fuse"
_FIT = "ext4, xfs, btrfs or tmpfs"
_PARAMETERS = Path("/sys/module/overlay/parameters")
_VOLATILE = (5, 10)  # Linux, fs/overlayfs/super.c: the first that knows the option
_UNSUPPORTED = (errno.ENODEV, errno.EPERM, errno.EINVAL, errno.EOPNOTSUPP)


def mount_overlay(
    lowers: Sequence[Path], upper: Path, work: Path, target: Path, flavour: Flavour, *, volatile: bool = False
) -> None:
    """Mount `lowers` (topmost first) below `upper` at `target`, in the mount namespace of this process.

    `volatile`: what is written need not outlive a crash of the machine, so that no end waits for the disk: every
    unmount of an overlay syncs all of the file system that its upper directory is on (overlayfs.rst, "Volatile mount").

    With the flavour `user` fuse-overlayfs stands in where the kernel cannot (before 5.11, or not on this file system);
    layers of the flavour `fuse` only it understands. Raises HostError, with what mends it.
    """
    program = find_program("fuse-overlayfs") if flavour != "trusted" else None
    if flavour == "fuse":
        if program is None:
            raise unfit(upper.parent, flavour)
        by_fuse(program, lowers, upper, work, target)
        return
    try:
        _by_kernel(lowers, upper, work, target, flavour, volatile)
    except OSError as error:
        if program is None or error.errno not in _UNSUPPORTED:
            raise _refused(error, flavour, upper) from error
        by_fuse(program, lowers, upper, work, target)


def _by_kernel(lowers: Sequence[Path], upper: Path, work: Path, target: Path, flavour: Flavour, volatile: bool) -> None:
    """Each directory is named by the number of an open file: a page of options (mount(2)) holds hundreds of them."""
    place = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    opened: list[int] = []
    try:
        for path in (*lowers, upper, work):
            opened.append(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        os.chdir("/proc/self/fd")
        *below, above, beside = map(str, opened)
        options = f"lowerdir={':'.join(below)},upperdir={above},workdir={beside}"
        options += ",userxattr" if flavour == "user" else _plain()
        options += ",volatile" if volatile and kernel_version() >= _VOLATILE else ""
        syscalls.mount("overlay", target, "overlay", 0, options)
    finally:
        os.fchdir(place)
        for number in (place, *opened):
            os.close(number)


def _plain() -> str:
    """Options against what a kernel may do by default (overlayfs.rst: redirect_dir, metacopy, index), and which
    userxattr switches off: then the upper layer alone would not tell what was changed. Older kernels do not know them.
    """
    return "".join(f",{name}=off" for name in ("redirect_dir", "metacopy", "index") if (_PARAMETERS / name).exists())


def by_fuse(program: str, lowers: Sequence[Path], upper: Path, work: Path, target: Path) -> None:
    """The same by fuse-overlayfs, whose process ends with this process's PID namespace.

    Returns in a child where this is the first process of it (`leave_reaper`). Raises HostError.
    """
    try:
        os.close(os.open(_FUSE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        raise HostError(f"fuse-overlayfs needs {_FUSE}, which is not there", "as root: modprobe fuse") from None
    except OSError as error:
        hint = f"as root: chmod 666 {_FUSE}"
        raise HostError(f"fuse-overlayfs may not open {_FUSE}: {error.strerror}", hint) from error
    import subprocess

    for path in (*lowers, upper, work):
        if set(str(path)) & set(":,\\"):
            raise HostError(f"fuse-overlayfs cannot use {path}: ':', ',' and '\\' separate its options", "use --root")
    leave_reaper()
    options = f"lowerdir={':'.join(map(str, lowers))},upperdir={upper},workdir={work}"
    done = subprocess.run(
        [program, "-o", options, str(target)], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode != 0:
        said = printable(done.stderr.strip() or f"it ended with {done.returncode}", 300)
        raise HostError(f"fuse-overlayfs failed: {said}", f"choose a place on {_FIT} with --root")


def unfit(place: Path, flavour: Flavour) -> HostError:
    """The error for a file system that cannot hold a read-write layer, and what mends it for mounts of the flavour."""
    return HostError(
        f"overlayfs does not take {place}: its file system cannot hold the upper layer",
        f"choose a place on {_FIT} with --root" if flavour == "trusted" else "apt install fuse-overlayfs",
    )


def _refused(error: OSError, flavour: Flavour, upper: Path) -> HostError:
    if error.errno == errno.ENODEV:
        return HostError("the kernel has no overlayfs", "as root: modprobe overlay")
    if error.errno == errno.EINVAL:
        return unfit(upper.parent, flavour)
    if flavour == "user" and error.errno == errno.EPERM:
        return HostError("this kernel lets no user mount an overlay (5.11 and newer do)", "apt install fuse-overlayfs")
    return HostError(f"the layers cannot be mounted: {error.strerror}")
