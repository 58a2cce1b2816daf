"""Layers that were made ready long ago, held against what they were made from: those in the form of EROFS images.

Every byte that a container reads is in a layer's archive, which has the diff ID; the metadata beside it have a digest
of their own. Layers that are unpacked have nothing that they could be held against.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from polyarch.container.snapshot_garbage import SnapshotGarbage
from polyarch.files import disk_error, random_name, sync_directory
from polyarch.oci.config import chain_ids
from polyarch.oci.digest import Digest, hasher, hex_of, short
from polyarch.unpack.erofs.format import ARCHIVE_NAME, METADATA_NAME, SUM_NAME
from polyarch.unpack.erofs.layer import metadata_is_sound, write_metadata_anew
from polyarch.unpack.limits import Limits
from polyarch.unpack.stream import LayerStream
from polyarch.unpack.tree import remove_tree

_CHUNK = 1 << 20


def damaged_layers(root: Path, diff_ids: Sequence[Digest]) -> tuple[int, ...]:
    """The numbers of an image's layers, from the bottom, that are ready below ROOT and damaged."""
    return tuple(
        number
        for number, (path, diff_id) in enumerate(_ready(root, diff_ids))
        if path and not (_is_sound(path, diff_id) and metadata_is_sound(path.parent))
    )


def _ready(root: Path, diff_ids: Sequence[Digest]) -> Iterator[tuple[Path | None, Digest]]:
    for chain_id, diff_id in zip(chain_ids(tuple(diff_ids)), diff_ids, strict=True):
        path = root / "snapshots" / "erofs" / hex_of(chain_id)
        yield (path / ARCHIVE_NAME if path.is_dir() else None), diff_id


def _is_sound(archive: Path, diff_id: Digest) -> bool:
    hashed = hasher(diff_id)
    try:
        with archive.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                hashed.update(chunk)
    except FileNotFoundError:
        return not archive.parent.is_dir()  # it was removed just now
    except OSError:  # a bad place of the disk is the same as wrong bytes
        return False
    return hashed.hexdigest() == hex_of(diff_id)


def mend_layer(
    root: Path, diff_ids: Sequence[Digest], number: int, layer: Callable[[], BinaryIO], limits: Limits
) -> None:
    """Write what is damaged of a ready layer anew: the archive from the layer as it is kept, wherever it is shared, and
    the metadata from the archive. Those below it must be whole.

    A container that has it mounted keeps the old one to its end. Raises IntegrityError, StorageError.
    """
    found = list(_ready(root, diff_ids))
    archive, diff_id = found[number]
    if archive is None:
        return
    with SnapshotGarbage(root).alone():
        try:
            if not _is_sound(archive, diff_id):
                _mend_archive(archive, diff_id, layer, limits)
            if not metadata_is_sound(archive.parent):
                _mend_metadata(archive.parent, diff_id, [path.parent for path, _ in found[:number] if path], limits)
        except OSError as error:
            raise disk_error(error, f"cannot write the layer {short(diff_id)} anew") from error


def _mend_archive(archive: Path, diff_id: Digest, layer: Callable[[], BinaryIO], limits: Limits) -> None:
    folder = archive.parent.parent
    new = folder / f".{archive.parent.name}.{random_name(6)}.mend"
    try:
        old = archive.stat().st_ino if archive.exists() else 0
        _write(new, diff_id, layer, limits)
        for each in {archive, *folder.glob(f"[0-9a-f]*/{ARCHIVE_NAME}")}:
            if each == archive or each.stat().st_ino == old:
                beside = each.with_name(f".{ARCHIVE_NAME}")
                beside.unlink(missing_ok=True)
                os.link(new, beside)
                beside.replace(each)
                sync_directory(each.parent)
    finally:
        new.unlink(missing_ok=True)


def _mend_metadata(directory: Path, diff_id: Digest, below: Sequence[Path], limits: Limits) -> None:
    new = directory.with_name(f".{directory.name}.{random_name(6)}.mend")
    new.mkdir(0o700)
    try:
        write_metadata_anew(directory, diff_id, new, below[::-1], limits=limits.of_layer())
        for name in (METADATA_NAME, SUM_NAME):
            (new / name).replace(directory / name)
        sync_directory(directory)
    finally:
        remove_tree(new)


def _write(path: Path, diff_id: Digest, layer: Callable[[], BinaryIO], limits: Limits) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as file, layer() as source:
        stream = LayerStream(source, f"layer {short(diff_id)}", diff_id, limits.of_layer())
        stream.copy_to(file.write)
        with contextlib.closing(stream):
            stream.finish()
        file.flush()
        os.fchmod(descriptor, 0o644)
        os.fsync(descriptor)
