"""Devices of a container's own, where its runtime finds the machine's.

In a user namespace nobody can make nodes: runtimes mount the machine's own ones there (crun, src/libcrun/linux.c,
libcrun_create_dev; runc, libcontainer/rootfs_linux.go, bindMountDeviceNode), whose mode and owner a root with the same
number could change for all of the machine. The same goes for a /dev/null that a program is given as one of its streams.
"""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path

from polyarch.container import syscalls

# Linux, admin-guide/devices.txt; those that every container has (runtime-spec, config-linux.md, "Default Devices").
_NODES = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
_NOTHING = "/dev/null"


def mount_own_devices(place: Path) -> None:
    """In a mount namespace of one's own, as a root that may make nodes: nodes that nobody else has, in /dev.

    `place` is a directory that they are made in; it is as it was afterwards. Another root goes on with those that are
    there. Raises OSError.
    """
    syscalls.mount("tmpfs", place, "tmpfs", syscalls.MS_NOSUID | syscalls.MS_NOEXEC, "size=64k,mode=755")
    with contextlib.suppress(PermissionError, FileNotFoundError):
        for name, (major, minor) in _NODES.items():
            node = place / name
            os.mknod(node, stat.S_IFCHR | 0o666, os.makedev(major, minor))
            node.chmod(0o666)  # whatever the umask is
            syscalls.mount(os.fspath(node), f"/dev/{name}", None, syscalls.MS_BIND)
    syscalls.unmount(place)  # the nodes stay where they are bound to


def own_nothing() -> None:
    """In the mount namespace of a container: of this process's streams, those that are /dev/null become that of there.

    Raises OSError.
    """
    for number in (0, 1, 2):
        status = os.fstat(number)
        if stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(*_NODES["null"]):
            opened = os.open(_NOTHING, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(opened, number)
            os.close(opened)
