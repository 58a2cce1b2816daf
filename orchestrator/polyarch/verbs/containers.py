"""The containers of a session: what there are, and what can be done with them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING

from polyarch.container.rights import Rights, rights_at
from polyarch.container.state import Containers
from polyarch.contract.others import EmulatorSource
from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.errors import UsageError, platforms_errors
from polyarch.events import Emit, Warned
from polyarch.reference import Reference, check_new_name
from polyarch.selection.types import EmulationPolicy
from polyarch.settings import Settings
from polyarch.transfer.staged import KeepsBlobs
from polyarch_platforms.device import Device
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

if TYPE_CHECKING:
    from polyarch.container.changes import Change
    from polyarch.container.commit import CommitRequest, Committed
    from polyarch.container.copying import Inside
    from polyarch.container.layers import Layers
    from polyarch.container.logs import LogLine
    from polyarch.container.record import Record
    from polyarch.container.request import ExecRequest, RunRequest
    from polyarch.container.run import Ran


@dataclass(frozen=True, slots=True)
class ContainerParts:
    """What the containers need of a session, each asked for when it is needed.

    `started` calls a function with an image to start (by reference, platform, emulation, pull, allow_mislabelled) and
    its blobs' files, again where another process removed that meanwhile;
    `name` reads a reference to be given, `platform` the words of `--platform`.
    """

    started: Callable[
        [Callable[[Image, HasBlobFiles], Record], str, str | None, EmulationPolicy | None, str, bool], Record
    ]
    storage: Callable[[], KeepsBlobs]
    name: Callable[[str], Reference]
    platform: Callable[[str], Platform]
    machine: Callable[[], Device]
    sources: Callable[[], Sequence[EmulatorSource]]


class ContainerVerbs:
    """`session.containers`. Each container is named by its name, its ID, or the beginning of that.

    Every method raises NotFoundError for an unknown one, UsageError for an ambiguous beginning.
    """

    def __init__(self, settings: Settings, parts: ContainerParts, emit: Emit) -> None:
        self._settings = settings
        self._root = settings.root
        self._parts = parts
        self._emit = emit

    @cached_property
    def _rights(self) -> Rights:
        return rights_at(self._root)

    @cached_property
    def _containers(self) -> Containers:
        return Containers(self._root / "containers", self._rights)

    def all(self) -> tuple[Record, ...]:
        """Every container, the newest first. What killed processes left is removed on the way."""
        if not (self._root / "containers").is_dir():
            return ()
        self._containers.sweep()
        return tuple(sorted(self._containers.records(), key=lambda record: record.created, reverse=True))

    def find(self, name: str) -> Record:
        """One container."""
        return self._containers.find(name)

    def create(
        self,
        reference: str,
        request: RunRequest,
        *,
        platform: str | None = None,
        emulation: EmulationPolicy | None = None,
        pull: str = "missing",
        allow_mislabelled: bool = False,
    ) -> Record:
        """Make a container of an image, which is pulled as for `run`, or of none (`scratch`), without starting it."""
        from polyarch.container.base import SCRATCH
        from polyarch.container.create import create_container, scratch_image
        from polyarch.container.later_start import LaterStart
        from polyarch.container.request import read_words

        words = read_words(request, starts=False)
        later = LaterStart(request, words, as_labelled=not allow_mislabelled)

        def make(image: Image, storage: HasBlobFiles) -> Record:
            return create_container(later, image, storage, self._settings, self._emit)

        if reference == SCRATCH:
            image = scratch_image(self._parts.platform(platform) if platform else self._parts.machine().platform)
            return make(image, self._parts.storage())
        return self._parts.started(make, reference, platform, emulation, pull, allow_mislabelled)

    def start(self, name: str, *, attach: bool = False, interactive: bool = False) -> Ran:
        """Start a container that `create` made; with `attach` wait for its end, and with `interactive` as well pass
        stdin on. One that runs is left alone, as docker does.

        Raises what `run` raises; UsageError: it runs, and cannot be attached to.
        """
        from polyarch.container.create import image_of, start_container
        from polyarch.container.run import Ran

        record = self.find(name)
        if record.status == "running":
            if attach:
                raise UsageError(
                    f"the container {record.name} runs already", f"follow it: polyarch logs -f {record.name}"
                )
            return Ran(record.id, None)
        image = image_of(self._parts.storage(), record, self._parts.name)
        with platforms_errors():
            return start_container(
                self._containers,
                record,
                image,
                self._rights,
                self._layers(record),
                self._parts.machine(),
                self._parts.sources(),
                self._settings,
                self._emit,
                attach=attach,
                interactive=interactive,
            )

    def commit(self, name: str, reference: str, request: CommitRequest) -> Committed:
        """Freeze what a container has written into an image of that name. Raises NotFoundError: its base is gone."""
        from polyarch.container.commit import commit_container

        record = self.find(name)
        new = self._parts.name(reference)
        check_new_name(new, reference)
        return commit_container(
            self._containers,
            record,
            self._layers(record),
            self._rights,
            self._parts.storage(),
            new,
            request,
            self._emit,
        )

    def copy(self, source: str, destination: str, *, archive: bool = False, follow: bool = False) -> None:
        """Copy files, by docker's rules; one of the two is `CONTAINER:PATH`, the other a path here, or `-` (tar).

        `archive` keeps owners, `follow` follows a symlink at the source. Raises UsageError, NotFoundError, HostError,
        StorageError.
        """
        from polyarch.container.copy_ends import read_words
        from polyarch.container.copying import Copy

        words = read_words(source, destination)
        record = self.find(words[0].container or words[1].container or "")
        copy = Copy(*words, archive=archive, follow=follow, owners=self._rights.owners)
        with self._inside(record) as inside:
            sockets = copy.into(inside) if words[0].container is None else copy.out(inside)
        if sockets:
            self._emit(Warned(f"left out: sockets, which cannot be copied: {', '.join(sockets[:3])}"))

    @contextlib.contextmanager
    def _inside(self, record: Record) -> Iterator[Inside]:
        """A way to call something with a container's root directory."""
        from polyarch.container.mounted import in_running, in_stopped

        directory = self._containers.directory(record)
        if record.status == "running":
            yield lambda function: in_running(record, directory, function)
            return
        with contextlib.closing(self._containers.hold(record)):
            yield lambda function: in_stopped(directory, self._layers(record), self._rights, function)

    def _layers(self, record: Record) -> Layers:
        """Its snapshots."""
        from polyarch.container.layers import Layers, folder_of

        folder = folder_of(self._root / "snapshots", record.form, self._rights.flavour)
        return Layers(record.form, tuple(folder / layer for layer in record.layers))

    def exec(self, name: str, request: ExecRequest) -> int:
        """Start one more program in a container that runs, and wait for it; its exit code."""
        from polyarch.container.enter import exec_in_container

        record = self.find(name)
        return exec_in_container(request, record, self._containers.directory(record), self._rights.maps)

    def logs(self, name: str, *, follow: bool = False, tail: int | None = None) -> Iterator[LogLine]:
        """What a detached container has written; with `follow` what it goes on to write, until it ends."""
        from polyarch.container.logs import follow_log, read_log

        record = self.find(name)
        directory = self._containers.directory(record)
        if follow:
            return follow_log(directory, record, lambda: self.find(record.id).status == "running", tail=tail)
        return read_log(directory, record, tail=tail)

    def stop(self, name: str, *, seconds: float = 10) -> Record:
        """Ask a container's program to end, after `seconds` end it; the container as it was before."""
        from polyarch.container.lifecycle import stop_container

        record = self._containers.find(name, damaged=True)
        stop_container(self._containers, record, seconds)
        return record

    def remove(self, name: str, *, force: bool = False) -> Record:
        """Take a container away, with `force` also one that runs; what it was. Raises UsageError if it runs."""
        from polyarch.container.lifecycle import remove_container

        record = self._containers.find(name, damaged=True)
        remove_container(self._containers, record, force=force)
        return record

    def diff(self, name: str) -> tuple[Change, ...]:
        """What a container has changed of its image's files, sorted by path."""
        from polyarch.container.changes import container_changes

        record = self.find(name)
        return container_changes(self._containers.directory(record), self._layers(record), self._rights)
