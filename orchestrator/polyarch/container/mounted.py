"""The layers of a container, mounted: for its start, and for a look at its files while it does not run."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.container import syscalls
from polyarch.container.launch import Launch
from polyarch.container.layers import MOUNTS, Layers, readable
from polyarch.container.overlay import mount_overlay
from polyarch.container.record import Record
from polyarch.container.rights import Rights
from polyarch.container.runtime import find_runtime, process_in
from polyarch.errors import HostError

if TYPE_CHECKING:
    from polyarch.container.neighbours import Neighbour

_NOTHING = "nothing"
"""The empty directory in a container's that lies below everything where there is no image: overlayfs wants a layer."""


def prepare_top(directory: Path, layers: Sequence[Path], rights: Rights) -> None:
    """Make the read-write layer of a new container look like the topmost layer: it is what the container sees as /.

    `layers` are directories, the topmost first. Called with the rights that mount. Raises OSError.
    """
    upper = directory / "upper"
    if not layers:
        (directory / _NOTHING).mkdir(mode=0o755, exist_ok=True)
        upper.chmod(0o755)
        return
    status = layers[0].stat()
    if rights.owners:
        os.chown(upper, status.st_uid, status.st_gid)
    upper.chmod(status.st_mode & 0o7777)
    os.utime(upper, ns=(status.st_mtime_ns, status.st_mtime_ns))


def mount_layers(
    directory: Path,
    layers: Layers,
    rights: Rights,
    *,
    volatile: bool = False,
    beside: Sequence[Neighbour] | None = None,
) -> None:
    """Mount a container's layers below its read-write one, at `rootfs` in its directory; in a mount namespace of its
    own. `beside` is as for `readable`.

    `volatile`: what is written need not outlive a crash of the machine. Raises OSError, HostError.
    """
    upper, work = directory / "upper", directory / "work"
    with readable(layers, directory / MOUNTS, beside) as lowers:
        if not any(work.iterdir()):  # for the first time: what the container has done to its root directory stays
            prepare_top(directory, lowers, rights)
        mount_overlay(
            lowers or [directory / _NOTHING], upper, work, directory / "rootfs", rights.flavour, volatile=volatile
        )


def in_stopped(directory: Path, layers: Layers, rights: Rights, function: Callable[[str], None]) -> None:
    """Call `function` in a process of its own with the root directory of a container that does not run, and is held.

    Raises what `function` raises, HostError.
    """

    def mounts() -> None:
        try:
            syscalls.mount("proc", "/proc", "proc", syscalls.SEALED)
        except OSError as error:
            raise HostError(f"/proc cannot be mounted in a namespace: {error.strerror}") from error
        mount_layers(directory, layers, rights)

    _call(Launch(_then_end(lambda: function(str(directory / "rootfs"))), mounts, outer=rights.maps))


def in_running(record: Record, directory: Path, function: Callable[[str], None]) -> None:
    """The same for one that runs: with the root that its program sees, volumes and all. Raises what that does."""
    if record.runtime == "none":
        function(f"/proc/{record.pid}/root/.")
        return
    runtime = find_runtime(record.runtime)

    def inside() -> None:
        pid = process_in(runtime, directory / "runtime", record.id)
        function(f"/proc/{pid}/root/.")

    _call(Launch(_then_end(inside), None, joined=record.pid))


def _then_end(function: Callable[[], None]) -> Callable[[], Sequence[str]]:
    def command() -> Sequence[str]:
        function()
        os._exit(0)

    return command


def _call(launch: Launch) -> None:
    """Returns when the process has ended, not before: what it has mounted is gone then."""
    child = launch.start(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    if os.waitpid(child, 0)[1] != 0:
        raise HostError("a part of polyarch was killed", "try again")
