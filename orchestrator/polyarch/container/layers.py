"""A container's layers: where they are and in which form, and directories to read them by.

Unpacked ones are directories as they are. EROFS images are mounted where nobody else sees it: in a mount namespace that
ends with the process that has it, so that no kill leaves a mount behind.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from polyarch.container import syscalls
from polyarch.container.launch import Launch
from polyarch.container.record import Form
from polyarch.container.rights import Rights, answer_of
from polyarch.errors import HostError
from polyarch.unpack.stack import Flavour
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from polyarch.container.neighbours import Neighbour

T = TypeVar("T")

MOUNTS = "layers"
"""In a container's directory: where its layers are mounted one by one, if they have to be."""


@dataclass(frozen=True, slots=True)
class Layers:
    """Directories of layers, the topmost first: of unpacked files, or each with an EROFS image and its archive."""

    form: Form
    paths: tuple[Path, ...]


def folder_of(snapshots: Path, form: Form, flavour: Flavour) -> Path:
    """Where layers of a form are; what is unpacked differs by who mounts it."""
    return snapshots / ("erofs" if form == "erofs" else flavour)


@contextlib.contextmanager
def readable(layers: Layers, place: Path, beside: Sequence[Neighbour] | None = None) -> Iterator[Sequence[Path]]:
    """Within, the layers as directories, the topmost first. Called in a mount namespace of its own.

    `place` is a directory to mount at, which is made. An overlay that is mounted within keeps what it needs. With
    `beside`, the containers that may have mounted some of them, they stay mounted for later ones to find, as long as
    the namespace is there. Raises OSError, HostError.
    """
    if layers.form == "unpacked":
        yield layers.paths
        return
    from polyarch.container.erofs import mount_layer

    place.mkdir(mode=0o700, exist_ok=True)
    syscalls.mount("tmpfs", place, "tmpfs", syscalls.SEALED, "mode=700")
    try:
        mounted = [place / str(number) for number in range(len(layers.paths))]
        for target in mounted:
            target.mkdir()
        shared = set[Path]()
        if beside:
            from polyarch.container.neighbours import mount_clones

            shared = mount_clones(layers, mounted, beside)
        for path, target in zip(layers.paths, mounted, strict=True):
            if target not in shared:
                mount_layer(path, target)
        yield mounted
    finally:
        if beside is None:
            syscalls.unmount(place)


def look(layers: Layers, rights: Rights, place: Path, function: Callable[[Sequence[Path]], T]) -> T:
    """What `function` answers, called with the layers as directories, the topmost first, and with the right to
    everything that containers leave; something that can be pickled. `place` is as for `readable`.

    Raises what `function` raises, OSError, HostError.
    """
    if layers.form == "unpacked":
        return rights.ask(lambda: function(layers.paths))

    def in_namespace(ask: Callable[[], None]) -> None:
        def command() -> Sequence[str]:
            with readable(layers, place):
                ask()
            os._exit(0)

        child = Launch(command, pid_namespace=False).start(signal.pthread_sigmask(signal.SIG_BLOCK, ()))
        if os.waitpid(child, 0)[1] != 0:
            raise HostError("a part of polyarch was killed", "try again")

    mounted = [place / str(number) for number in range(len(layers.paths))]
    return answer_of(in_namespace, lambda: function(mounted))
