"""Control groups of containers: only where root may make them, one for each container in each hierarchy.

None is shared as a parent: nobody could ever tell when to remove it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
from pathlib import Path

from polyarch.container import syscalls

_MOUNTED = Path("/sys/fs/cgroup")


def cgroup_of(identifier: str) -> str:
    """The path of a container's group; "" where none can be made (no root, no cgroup file system to write to).

    The devices a container may open are bound to it: version 1 has a hierarchy for them, version 2 a program.
    """
    unified = (_MOUNTED / "cgroup.controllers").exists()
    place = _MOUNTED if unified else _MOUNTED / "devices"
    usable = os.geteuid() == 0 and place.is_dir() and os.access(place, os.W_OK)
    return f"/{_name(identifier)}" if usable else ""


def _name(identifier: str) -> str:
    return f"polyarch-{identifier}"


def hide_second_version() -> None:
    """In a mount namespace of one's own: where controllers of both versions are mounted, see version 1 alone.

    crun refuses both side by side (src/libcrun/cgroup-utils.c, libcrun_get_cgroup_mode). Raises OSError.
    """
    second = _MOUNTED / "unified"
    controllers = second / "cgroup.controllers"
    if controllers.exists() and controllers.read_text().strip():
        syscalls.mount("none", second, "tmpfs", syscalls.SEALED, "size=64k,mode=0755")


def remove_cgroup(identifier: str) -> None:
    """Take away the group of a container that nobody runs any more, where its runtime could not.

    What is still in it, because whoever ran it was killed a moment ago, is ended.
    """
    hierarchies = [_MOUNTED, *_MOUNTED.glob("*/")] if os.geteuid() == 0 else []
    for hierarchy in hierarchies:
        group = hierarchy / _name(identifier)
        if group.is_dir():
            with contextlib.suppress(OSError):
                for inner in (*sorted(group.rglob("*/"), reverse=True), group):
                    _empty(inner)
                    inner.rmdir()


def _empty(group: Path) -> None:
    """End all processes of a group, and wait for each."""
    while members := (group / "cgroup.procs").read_text().split():
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                process = os.pidfd_open(int(member))
                try:
                    signal.pidfd_send_signal(process, signal.SIGKILL)
                    select.select([process], [], [])
                finally:
                    os.close(process)
