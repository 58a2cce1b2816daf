"""Freezing what a container has written into an image: one layer, config and manifest more; the base's blobs stay."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol

from polyarch.container.base import base_manifest, gone, read_blob
from polyarch.container.cgroups import frozen
from polyarch.container.committed import Step, committed_config, oci_layer_type, scratch_config
from polyarch.container.layers import Layers
from polyarch.container.packing import PackedChanges, pack_changes
from polyarch.container.record import Record
from polyarch.container.rights import Rights
from polyarch.container.state import Containers
from polyarch.contract.storage import Image, ReadsBlobs, Storage
from polyarch.errors import NotFoundError, platforms_errors
from polyarch.events import Emit, Warned
from polyarch.files import disk_error
from polyarch.oci.config import MAX_CONFIG_SIZE, check_layer_count, parse_config
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.media_types import OCI_LAYER_GZIP
from polyarch.oci.written import described, write_manifest
from polyarch.reference import Reference
from polyarch.transfer.made import chunks_of, store_made
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, parse

_SHOWN = 3


class KeepsImages(Storage, ReadsBlobs, Protocol):
    """A storage whose blobs can be read again."""


@dataclass(frozen=True, slots=True)
class CommitRequest:
    """The words of `commit`. `changes` are instructions of a Dockerfile; `epoch` is the time that the image is of, in
    seconds since 1970, None for now: see `oci.source_date`.
    """

    changes: tuple[str, ...] = ()
    author: str = ""
    message: str = ""
    pause: bool = True
    epoch: int | None = None


@dataclass(frozen=True, slots=True)
class Committed:
    """An image made of a container. `layer` is None where the container has changed nothing.

    `left_out` are the paths that no layer can hold.
    """

    image: Image
    layer: Descriptor | None
    diff_id: Digest | None
    left_out: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Base:
    """The image that a container was made from."""

    raw_config: bytes
    layers: tuple[Descriptor, ...]


def commit_container(
    containers: Containers,
    record: Record,
    layers: Layers,
    rights: Rights,
    storage: KeepsImages,
    name: Reference,
    request: CommitRequest,
    emit: Emit,
) -> Committed:
    """Pack the container's changes and let `name` point at the image; `layers` are its snapshots.

    One that runs is frozen meanwhile where it has a control group to freeze, and `request.pause` says so.
    Raises UsageError, StorageError; NotFoundError: the image that it was made from is no longer whole in the storage.
    """
    with platforms_errors():
        platform = parse(record.platform)
    base = _base(storage, record, platform)
    committed_config(base.raw_config, platform, Step("", "", changes=request.changes))  # wrong words are told first
    directory = containers.directory(record)
    with _temporary(directory) as out:
        latest = None if request.epoch is None else request.epoch * 1_000_000_000
        with _still(containers, record, request, emit):
            packed = pack_changes(directory, layers, rights, out, latest)
        if not directory.is_dir():
            raise NotFoundError(f"the container {record.name} was taken away while it was read")
        _tell(packed, emit)
        layer = packed.packed
        step = Step(
            created=_time(request.epoch),
            created_by=" ".join(record.command),
            author=request.author,
            comment=request.message,
            diff_id=layer.diff_id if layer else None,
            changes=request.changes,
        )
        config = committed_config(base.raw_config, platform, step)
        top = Descriptor(OCI_LAYER_GZIP, layer.digest, layer.size) if layer else None
        if top:
            store_made(storage, top, chunks_of(out))
    store_made(storage, described(config), [config.raw])
    manifest = write_manifest(described(config), (*base.layers, *([top] if top else [])))
    image = Image(name, manifest, manifest, config, platform)
    storage.commit(image)
    return Committed(image, top, step.diff_id, (*packed.sockets, *packed.forbidden))


def _base(storage: KeepsImages, record: Record, platform: Platform) -> _Base:
    """The image of a container, whose blobs are counted on from now on."""
    if not record.manifest:
        return _Base(scratch_config(platform), ())
    manifest = base_manifest(storage, record)
    raw = read_blob(storage, manifest.config.digest, MAX_CONFIG_SIZE)
    check_layer_count(parse_config(raw), len(manifest.layers), record.image)
    layers = tuple(
        Descriptor(oci_layer_type(each.media_type), each.digest, each.size, urls=each.urls) for each in manifest.layers
    )
    for layer in layers:
        if not storage.has_blob(layer) and not layer.urls:
            raise gone(record)
    return _Base(raw, layers)


@contextlib.contextmanager
def _temporary(directory: Path) -> Iterator[BinaryIO]:
    """A file without a name: nothing is left of it, whatever ends this process."""
    try:
        with tempfile.TemporaryFile(dir=directory) as out:
            yield out
    except OSError as error:
        raise disk_error(error, f"cannot write in {directory}") from error


@contextlib.contextmanager
def _still(containers: Containers, record: Record, request: CommitRequest, emit: Emit) -> Iterator[None]:
    """As long as nothing changes the container: one that does not run is held, one that runs is frozen if it can be."""
    if record.status != "running":
        with contextlib.closing(containers.hold(record)):
            yield
        return
    if not request.pause:
        yield
        return
    with frozen(record.id) as is_frozen:
        if not is_frozen:
            emit(Warned(f"the container {record.name} goes on while it is read: it has no control group to freeze"))
        yield


def _tell(packed: PackedChanges, emit: Emit) -> None:
    for paths, what in ((packed.sockets, "sockets"), (packed.forbidden, "names that begin with .wh., as whiteouts do")):
        if paths:
            shown = ", ".join("/" + path for path in paths[:_SHOWN]) + (", …" if len(paths) > _SHOWN else "")
            emit(Warned(f"left out: {what}, which no layer can hold: {shown}"))


def _time(seconds: int | None) -> str:
    """RFC 3339, as image configs have it."""
    moment = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
    return moment.isoformat().replace("+00:00", "Z")
