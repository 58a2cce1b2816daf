"""Freeing space: images that nobody needs, blobs that no image needs, unpacked layers that no container needs."""

from __future__ import annotations

import time
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from polyarch.container.snapshot_garbage import SnapshotGarbage
from polyarch.contract.storage import HasBlobFiles, KeepsUnnamed, ListsImages, RemovesImages
from polyarch.errors import UsageError
from polyarch.events import Emit, Warned
from polyarch.files import disk_error, sweep_temporary
from polyarch.oci.digest import Digest
from polyarch.reference import Reference
from polyarch.verbs.image_files import remove_files
from polyarch.verbs.images.at_hand import AtHand, Whole, at_hand, layers_of
from polyarch.verbs.images.prune_choice import PruneRules, going
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Pruned:
    """Something that went: an `image` (the digest of its manifest, and its name), a `blob`, an `unpacked` layer (its
    chain ID, None for what a killed process left), or the `files` of an image (its manifest).

    `size` is in bytes, 0 for an image: those are its blobs'.
    """

    kind: Literal["image", "blob", "unpacked", "files"]
    digest: Digest | None
    size: int
    reference: Reference | None = None


@dataclass(frozen=True, slots=True)
class Places:
    """What is pruned together: a storage, the one where pulls into engines wait, and what lies below `root`."""

    root: Path
    storage: RemovesImages
    staging: RemovesImages
    emit: Emit


def prune(places: Places, rules: PruneRules, *, dry_run: bool) -> tuple[Pruned, ...]:
    """Remove by the rules what no container uses; with `dry_run` only tell.

    Raises UsageError where the storage cannot do what is asked; StorageError.
    """
    storage, garbage = places.storage, SnapshotGarbage(places.root)
    if not isinstance(storage, KeepsUnnamed) or not isinstance(storage, ListsImages):
        if rules != PruneRules() or dry_run:
            raise UsageError("the storage oci can only remove what no image needs")
        return _blobs((*storage.prune(), *places.staging.prune()))
    with garbage.alone():
        with garbage.still() as records:
            images = at_hand(storage)
            used = {record.manifest for record in records}
            arrived = _arrived(storage, images) if rules.timed else {}
            # What a container needs whose record cannot be read nobody knows.
            chosen = () if garbage.broken else going(images, arrived, used, rules, time.time())
            blobs = storage.discard(Whole(storage, chosen), dry_run=dry_run)
            gone = set(chosen)
            staying = [image for image in images if image not in gone]
            garbage.choose(layers_of(staying), dry_run=dry_run)
        if garbage.broken:
            places.emit(Warned(f"images and unpacked layers stay: the record in {garbage.broken[0]} cannot be read"))
        layers = garbage.chosen()
        if not dry_run:
            garbage.delete()
    if not dry_run:
        try:
            sweep_temporary(places.root / "temporary")
        except OSError as error:
            raise disk_error(error, f"cannot remove from {places.root / 'temporary'}") from error
    files = remove_files(places.root / "files", {image.manifest for image in staying}, dry_run=dry_run)
    return (
        *(Pruned("image", each.manifest, 0, each.reference) for each in chosen),
        *_blobs((*blobs, *_waiting(places.staging, dry_run=dry_run))),
        *(Pruned("unpacked", digest, size) for digest, size in layers),
        *(Pruned("files", digest, size) for digest, size in files),
    )


def _blobs(removed: Iterable[tuple[Digest, int]]) -> tuple[Pruned, ...]:
    return tuple(Pruned("blob", digest, size) for digest, size in removed)


def _waiting(staging: RemovesImages, *, dry_run: bool) -> tuple[tuple[Digest, int], ...]:
    """What pulls into engines left."""
    if not dry_run:
        return staging.prune()
    return staging.discard((), dry_run=True) if isinstance(staging, KeepsUnnamed) else ()


def _arrived(storage: object, images: Iterable[AtHand]) -> dict[Digest, float]:
    """When each image came here: its manifest is a file that is written once. Raises UsageError, StorageError."""
    if not isinstance(storage, HasBlobFiles):
        raise UsageError("the storage oci does not tell when an image came")
    digests = {image.manifest for image in images}
    try:
        return {digest: storage.blob_path(digest).stat().st_mtime for digest in digests}
    except OSError as error:
        raise disk_error(error, "cannot read when images came") from error
