"""Extended attributes: which ones a layer may bring, and how they are set, read and taken away."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator, Mapping

from polyarch.errors import printable

ACCESS_ACL = "system.posix_acl_access"
DEFAULT_ACL = "system.posix_acl_default"
"""Of a directory: the access list that what is made in it gets."""

_OF_FILE_SYSTEMS = ("user.overlay.", "user.fuseoverlayfs.", "user.containers.")


def takes_attribute(name: str) -> bool:
    """True for the extended attributes that a layer may bring.

    File capabilities, POSIX ACLs and the user's own. Never security.selinux or security.ima (this machine's policy),
    nor what overlay file systems keep there (trusted.overlay.*, user.overlay.*): it would forge their view of layers.
    """
    if name.startswith("user."):
        return not name.startswith(_OF_FILE_SYSTEMS)
    return name in ("security.capability", ACCESS_ACL, DEFAULT_ACL)


class NoRoomForAttribute(OSError):
    """The file system keeps less of extended attributes than a file of the layer has: ext4 has a block for all of one
    file's (Linux, Documentation/filesystems/ext4/attributes.rst), XFS and btrfs have room for each that Linux allows.
    """

    HINT = 'keep it on XFS, which has room, or run it as root with layers = "auto" in the settings, which mounts it'


def set_attributes(fd: int, attributes: Mapping[str, bytes]) -> None:
    """Those extended attributes that a layer may bring, as far as the file system and this user can have them.

    Raises OSError; NoRoomForAttribute where there would be room on the disk, but not for an attribute.
    """
    for name, value in attributes.items():
        if takes_attribute(name):
            with _unsupported_passes():
                try:
                    os.setxattr(fd, name, value)
                except OSError as error:
                    full = error.errno == errno.ENOSPC and not os.fstatvfs(fd).f_bavail
                    if full or error.errno not in (errno.ENOSPC, errno.E2BIG):
                        raise
                    what = f"its file system has no room for {printable(name, 100)}, an attribute of {len(value)} bytes"
                    raise NoRoomForAttribute(error.errno, what) from error


def clear_attributes(fd: int) -> None:
    """Take away what an older layer brought."""
    with _unsupported_passes():
        for name in os.listxattr(fd):
            if takes_attribute(name):
                os.removexattr(fd, name)


def attributes_of(fd: int) -> dict[str, bytes]:
    """The extended attributes of a file that a layer may have brought."""
    found: dict[str, bytes] = {}
    with _unsupported_passes():
        for name in os.listxattr(fd):
            if takes_attribute(name):
                found[name] = os.getxattr(fd, name)
    return found


@contextlib.contextmanager
def _unsupported_passes() -> Iterator[None]:
    """File systems without extended attributes, and users without the right to a kind of them, go without."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOTSUP, errno.EPERM, errno.ERANGE, errno.EINVAL):
            raise
