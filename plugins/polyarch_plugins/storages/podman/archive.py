"""An OCI image layout in a tar archive (oci-archive), made while it is sent: nothing of it is on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from polyarch.contract import (
    HasBlobFiles,
    Image,
    TarMember,
    blob_name,
    bytes_member,
    file_member,
    index_json,
    marker_json,
    tar_chunks,
)

_REF_NAME = "org.opencontainers.image.ref.name"


def archive(name: str, image: Image, blobs: HasBlobFiles) -> Iterator[bytes]:
    """The bytes of an archive that holds `image`, which podman names after the `ref.name` of its entry.

    Raises StorageError: a file cannot be read, or is not of the size that it should have.
    """
    return tar_chunks(_members(name, image, blobs))


def _members(name: str, image: Image, blobs: HasBlobFiles) -> Iterator[TarMember]:
    entry = replace(image.manifest.descriptor, annotations={_REF_NAME: name})
    yield bytes_member("oci-layout", marker_json())
    yield bytes_member("index.json", index_json(None, [entry], "index.json"))
    yield bytes_member(blob_name(image.manifest.digest), image.manifest.raw)
    yield bytes_member(blob_name(image.manifest.config.digest), image.config.raw)
    for layer in {layer.digest: layer for layer in image.manifest.layers}.values():
        yield file_member(blob_name(layer.digest), blobs.blob_path(layer.digest), layer.size)
