"""A container that is ready to start, however that is done: what it is to be, and what its root file system says."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.container.etc_files import write_etc_files
from polyarch.container.layers import Layers
from polyarch.container.mounted import mount_layers
from polyarch.container.programs import Program, Promise, check_program
from polyarch.container.request import RunRequest, Words
from polyarch.container.rights import Rights
from polyarch.container.spec import environment_of, working_directory
from polyarch.container.state import Container
from polyarch.container.users import User, user_inside
from polyarch.contract.storage import Image
from polyarch.unpack.beneath import Root
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from polyarch.container.neighbours import Neighbour


@dataclass(frozen=True, slots=True)
class Inside:
    """What a program finds: itself (None where it lies on a volume), its user and variables, the host's files."""

    program: Program | None
    user: User
    hostname: str
    environment: dict[str, str]
    workdir: str
    files: Mapping[str, Path]


@dataclass(frozen=True, slots=True)
class Prepared:
    """A container with all that it needs.

    `layers` are its snapshots; with `as_labelled` its own program is held against the image's platform.
    """

    request: RunRequest
    image: Image
    words: Words
    rights: Rights
    layers: Layers
    container: Container
    as_labelled: bool

    @property
    def rootfs(self) -> Path:
        """Where `mount` mounts."""
        return self.container.directory / "rootfs"

    def mount(self, beside: Sequence[Neighbour] | None = None) -> None:
        """In a mount namespace of its own: the layers below the read-write layer. `beside` is as for `readable`.

        Raises OSError, HostError.
        """
        mount_layers(self.container.directory, self.layers, self.rights, volatile=self.request.rm, beside=beside)

    def look_inside(self, page_size: int | None) -> Inside:
        """What the mounted layers say; `page_size` is that of a kernel that executes the program itself.

        Raises UsageError, HostError, IntegrityError, ProgramNotFound, CannotExecute, StorageError.
        """
        request, config, identifier = self.request, self.image.config, self.container.record.id
        rootfs = Root(self.rootfs)
        user = user_inside(request.user or config.user, rootfs, self.rights.maps)
        hostname = request.hostname or (identifier[:12] if request.network == "none" else os.uname().nodename)
        environment = environment_of(config, self.words.variables, user, hostname, tty=request.tty)
        workdir = working_directory(request, config)
        program = check_program(
            self.container.record.command,
            environment["PATH"],
            workdir,
            rootfs,
            promise=self._promise(page_size),
            volumes=[volume.target for volume in self.words.volumes],
        )
        files = write_etc_files(self.container.directory, hostname, request.network)
        return Inside(program, user, hostname, environment, workdir, files)

    def _promise(self, page_size: int | None) -> Promise | None:
        """What the image's own program has to be; a user's choice of another one is the user's own."""
        chosen = self.request.entrypoint is not None or (self.request.argv and not self.image.config.entrypoint)
        if chosen or not self.as_labelled:
            return None
        return Promise(str(self.image.reference), self.image.platform, page_size)
