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

_MOUNTED = Path("/sys/fs/cgroup")
_FREEZES_WITHIN = 10.0  # seconds: what waits for a disk does not stand still at once
_LEAVE_ON = "try again, or leave them on: --no-pause"


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
    if (first / "freezer.state").exists():
        return _Switch(first / "freezer.state", "FROZEN", "THAWED", first / "freezer.state", "FROZEN")
    if (second / "cgroup.freeze").exists():
        return _Switch(second / "cgroup.freeze", "1", "0", second / "cgroup.events", "frozen 1")
    return None


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
