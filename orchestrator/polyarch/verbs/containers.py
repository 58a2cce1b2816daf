"""The containers of a session: what there are, and what can be done with them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from polyarch.container.rights import Rights, rights_at
from polyarch.container.state import Containers
from polyarch.contract.others import EmulatorSource
from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.events import Emit
from polyarch.reference import Reference
from polyarch.selection.types import EmulationPolicy
from polyarch.settings import Settings
from polyarch.transfer.staged import KeepsBlobs
from polyarch_platforms.device import Device
from polyarch_platforms.platform import Platform

if TYPE_CHECKING:
    from polyarch.container.changes import Change
    from polyarch.container.logs import LogLine
    from polyarch.container.record import Record
    from polyarch.container.request import ExecRequest


@dataclass(frozen=True, slots=True)
class ContainerParts:
    """What the containers need of a session, each asked for when it is needed.

    `image` gives an image to start (by reference, platform, emulation, pull, allow_mislabelled) and its blobs' files;
    `name` reads a reference to be given, `platform` the words of `--platform`.
    """

    image: Callable[[str, str | None, EmulationPolicy | None, str, bool], tuple[Image, HasBlobFiles]]
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

        record = self.find(name)
        stop_container(self._containers, record, seconds)
        return record

    def remove(self, name: str, *, force: bool = False) -> Record:
        """Take a container away, with `force` also one that runs; what it was. Raises UsageError if it runs."""
        from polyarch.container.lifecycle import remove_container

        record = self.find(name)
        remove_container(self._containers, record, force=force)
        return record

    def diff(self, name: str) -> tuple[Change, ...]:
        """What a container has changed of its image's files, sorted by path."""
        from polyarch.container.changes import container_changes

        record = self.find(name)
        snapshots = self._root / "snapshots" / self._rights.flavour
        layers = [snapshots / layer for layer in record.layers]
        return container_changes(self._containers.directory(record), layers, self._rights)
