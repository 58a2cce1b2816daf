"""Control groups of a lab's devices: each has a part of every hierarchy, which is all that it sees."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from polyarch.container import syscalls

CLONE_NEWCGROUP = 0x02000000  # Linux, include/uapi/linux/sched.h
_MOUNTED = Path("/sys/fs/cgroup")


def second_version() -> bool:
    """Whether the one hierarchy of cgroups(7) version 2 is what this machine has."""
    return (_MOUNTED / "cgroup.controllers").exists()


def hierarchies() -> dict[Path, str]:
    """Mount point -> the options that mount it, of version 2 alone, else of version 1."""
    if second_version():
        return {_MOUNTED: ""}
    found = {}
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, _, right = line.partition(" - ")
        kind, _, options = right.split(" ")
        place = Path(left.split(" ")[4])
        if kind == "cgroup" and place.parent == _MOUNTED:
            known = [word for word in options.split(",") if word not in ("rw", "ro", "clone_children")]
            found[place] = ",".join(known)
    return found


def place(pid: int, group: str) -> None:
    """Puts a process into the group (a relative path) of each hierarchy, and makes it. Where none can be, it is not."""
    for hierarchy in hierarchies():
        with contextlib.suppress(OSError):
            path = hierarchy
            for part in Path(group).parts:
                _hand_on(path)
                path = path / part
                path.mkdir(exist_ok=True)
                _fill_cpuset(path)
            (path / "cgroup.procs").write_text(str(pid))


def _hand_on(group: Path) -> None:
    """Version 2: its controllers for the groups within."""
    if second_version():
        for name in (group / "cgroup.controllers").read_text().split():
            with contextlib.suppress(OSError):
                (group / "cgroup.subtree_control").write_text(f"+{name}")


def _fill_cpuset(group: Path) -> None:
    """Version 1: a set of processors begins empty, and takes no process so (cpuset(7))."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        own = group / name
        if not second_version() and own.exists() and not own.read_text().strip():
            own.write_text((group.parent / name).read_text())


def mount_own(target: Path) -> None:
    """In a namespace of control groups: mounts what belongs to it at a device's /sys/fs/cgroup. Raises OSError.

    Of both versions side by side the first is shown alone: crun refuses the mixture (src/libcrun/cgroup-utils.c).
    """
    if second_version():
        syscalls.mount("cgroup2", target, "cgroup2", syscalls.SEALED)
        # A group that hands controllers on has no processes itself (cgroups(7), "No internal processes").
        inner = target / "init"
        inner.mkdir(exist_ok=True)
        (inner / "cgroup.procs").write_text("0")
        _hand_on(target)
        return
    syscalls.mount("tmpfs", target, "tmpfs", syscalls.SEALED, "mode=0755")
    for hierarchy, options in hierarchies().items():
        folder = target / hierarchy.name
        folder.mkdir()
        syscalls.mount("cgroup", folder, "cgroup", syscalls.SEALED, options)


def remove(group: str) -> None:
    """Takes a group and all within away, in every hierarchy; nothing may run there any more."""
    for hierarchy in hierarchies():
        top = hierarchy / group
        if top.is_dir():
            for folder, _, _ in os.walk(top, topdown=False):
                with contextlib.suppress(OSError):
                    Path(folder).rmdir()
