"""Control groups of containers: only where root may make them, one for each container in each hierarchy.

None is shared as a parent: nobody could ever tell when to remove it.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Iterator
from pathlib import Path

from polyarch.container import syscalls
from polyarch.errors import HostError
from polyarch_platforms.lazy_dataclass import dataclass

_PREFIX = "polyarch-"
_MOUNTED = Path("/sys/fs/cgroup")
_KINDS = (0x27E0EB, 0x63677270)  # Linux, include/uapi/linux/magic.h: CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC
ENDS_WITHIN = 10.0  # seconds: what waits for a disk ends later
_FREEZES_WITHIN = 10.0  # seconds: what waits for a disk does not stand still at once
_WAITS = "it may wait for a disk: try again later"
_LEAVE_ON = "try again, or leave them on: --no-pause"


def cgroup_of(identifier: str) -> str:
    """The path of a container's group; "" where none can be made (no root, no cgroup file system to write to).

    The devices a container may open are bound to it: version 1 has a hierarchy for them, version 2 a program.
    """
    place = _MOUNTED if is_unified() else _MOUNTED / "devices"
    usable = os.geteuid() == 0 and _is_group(place) and os.access(place, os.W_OK)
    return f"/{_name(identifier)}" if usable else ""


def is_unified() -> bool:
    """Whether version 2 alone is mounted (cgroup-v2.rst, "Mounting")."""
    return (_MOUNTED / "cgroup.controllers").exists()


def _name(identifier: str) -> str:
    return f"{_PREFIX}{identifier}"


def hide_second_version() -> None:
    """In a mount namespace of one's own: where controllers of both versions are mounted, see version 1 alone.

    crun refuses both side by side (src/libcrun/cgroup-utils.c, libcrun_get_cgroup_mode). Raises OSError.
    """
    second = _MOUNTED / "unified"
    controllers = second / "cgroup.controllers"
    if controllers.exists() and controllers.read_text().strip():
        syscalls.mount("none", second, "tmpfs", syscalls.SEALED, "size=64k,mode=0755")


def _is_group(place: Path) -> bool:
    """Whether it is a directory of the kernel's: elsewhere, files may have any content."""
    try:
        opened = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            return syscalls.file_system(opened) in _KINDS
        finally:
            os.close(opened)
    except OSError:
        return False


def left_cgroups() -> frozenset[str]:
    """The containers that have a group somewhere: to look for all at once is cheaper than for each."""
    found = set[str]()
    for hierarchy in _hierarchies():
        with contextlib.suppress(OSError):
            found.update(name for name in os.listdir(hierarchy) if name.startswith(_PREFIX))  # noqa: PTH208
    return frozenset(name.removeprefix(_PREFIX) for name in found)


def _hierarchies() -> list[Path]:
    return [_MOUNTED, *_MOUNTED.glob("*/")] if os.geteuid() == 0 else []


def remove_cgroup(identifier: str, *, patience: float = ENDS_WITHIN) -> None:
    """Take away the group of a container that nobody runs any more, where its runtime could not.

    What is still in it, because whoever ran it was killed a moment ago, is ended. Raises HostError: it has not ended
    after so many seconds.
    """
    end = time.monotonic() + patience
    for hierarchy in _hierarchies():
        group = hierarchy / _name(identifier)
        if _is_group(group):
            with contextlib.suppress(OSError):
                for inner in (*sorted(group.rglob("*/"), reverse=True), group):
                    _empty(inner, end)
                    inner.rmdir()


@contextlib.contextmanager
def frozen(identifier: str) -> Iterator[bool]:
    """No process of the container goes on meanwhile; False where it has no group that can be frozen.

    A process of its own lets them go on, should this one be killed. Raises HostError where they do not stand still.
    """
    switch = _switch(identifier)
    if switch is None:
        yield False
        return
    told, tell = os.pipe2(os.O_CLOEXEC)
    guard = os.fork()
    if guard == 0:
        os.setsid()  # no Ctrl-C reaches it
        os.close(tell)
        os.read(told, 1)  # ends when nobody has the other end open
        with contextlib.suppress(OSError):
            switch.thaw()
        os._exit(0)
    os.close(told)
    try:
        try:
            switch.freeze()
        except OSError as error:  # it may have ended a moment ago, and its group is gone
            raise HostError(f"the container cannot be made to stand still: {error.strerror}", _LEAVE_ON) from error
        yield True
    finally:
        os.close(tell)
        os.waitpid(guard, 0)


@dataclass(frozen=True, slots=True)
class _Switch:
    """The freezer of a group: the file to write to, its two words, and the file that tells, with what it then says.

    Sources: Linux, cgroup-v1/freezer-subsystem.rst; cgroup-v2.rst, "cgroup.freeze".
    """

    file: Path
    on: str
    off: str
    answer: Path
    word: str

    def freeze(self) -> None:
        """Returns once all processes stand still."""
        self.file.write_text(self.on)
        end = time.monotonic() + _FREEZES_WITHIN
        while self.word not in self.answer.read_text():
            if time.monotonic() > end:
                self.thaw()
                raise HostError("the container's processes do not stand still", _LEAVE_ON)
            time.sleep(0.01)

    def thaw(self) -> None:
        self.file.write_text(self.off)


def _switch(identifier: str) -> _Switch | None:
    if os.geteuid() != 0:
        return None
    first, second = _MOUNTED / "freezer" / _name(identifier), _MOUNTED / _name(identifier)
    if _is_group(first) and (first / "freezer.state").exists():
        return _Switch(first / "freezer.state", "FROZEN", "THAWED", first / "freezer.state", "FROZEN")
    if _is_group(second) and (second / "cgroup.freeze").exists():
        return _Switch(second / "cgroup.freeze", "1", "0", second / "cgroup.events", "frozen 1")
    return None


def _empty(group: Path, end: float) -> None:
    """End all processes of a group, and wait for each. Raises OSError; HostError: some have not ended by then."""
    while members := _members(group):
        for member in members:
            with contextlib.suppress(ProcessLookupError):
                process = os.pidfd_open(member)
                try:
                    if member in _members(group):  # the number was not another process's when this one was opened
                        signal.pidfd_send_signal(process, signal.SIGKILL)
                        if not select.select([process], [], [], max(0.0, end - time.monotonic()))[0]:
                            raise HostError(f"process {member} of the control group {group} does not end", _WAITS)
                finally:
                    os.close(process)
        if time.monotonic() > end and _members(group):  # others come all the time, or this process may not end them
            raise HostError(f"the control group {group} does not get empty", _WAITS)


def _members(group: Path) -> list[int]:
    """Those that this process has a number for."""
    return [number for number in map(int, (group / "cgroup.procs").read_text().split()) if number]
