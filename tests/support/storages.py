"""Filling and looking into a storage of the kind `oci`, without a registry."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

from polyarch.contract import Descriptor, Document, Platform, Storage
from polyarch.oci.digest import digest_of
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import MadeImage

Opener = Callable[..., OciStorage]
"""Opens the storage of a test: at its place, or at the folder given; `lock_timeout`, `sync`."""

LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def descriptor_of(data: bytes) -> Descriptor:
    """The descriptor of a layer of these bytes."""
    return Descriptor(LAYER, digest_of(data), len(data))


def write(storage: Storage, data: bytes) -> Descriptor:
    """Bring a blob in, unless it is here."""
    blob = descriptor_of(data)
    with storage.write_blob(blob) as writer:
        if writer is not None:
            writer.restart()
            writer.write(data)
            writer.finish()
    return blob


def store(
    storage: Storage, image: MadeImage, name: str, root: Document | None = None, platform: Platform | None = None
) -> None:
    """All that a pull does with a storage."""
    for data in image.blobs.values():
        write(storage, data)
    storage.commit(image.stored_as(name, root, platform))


def blobs_in(directory: Path) -> set[str]:
    """The digests of all blobs in a layout; AssertionError if one has not the bytes that its name tells."""
    found = set()
    for path in (directory / "blobs").glob("*/*"):
        assert hashlib.new(path.parent.name, path.read_bytes()).hexdigest() == path.name
        found.add(f"{path.parent.name}:{path.name}")
    return found


def partials_in(directory: Path) -> dict[str, int]:
    """The digests of the unfinished blobs, and how many bytes of each are here."""
    folder = directory / ".polyarch" / "partial"
    return {path.name.replace("-", ":", 1): path.stat().st_size for path in folder.iterdir()}
