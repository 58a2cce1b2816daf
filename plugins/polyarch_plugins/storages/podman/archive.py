"""An OCI image layout in a tar archive (oci-archive), made while it is sent: nothing of it is on the disk."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from tarfile import BLOCKSIZE, GNU_FORMAT, TarInfo

from polyarch.contract import HasBlobFiles, Image, StorageError, blob_name, disk_error, index_json, marker_json

_CHUNK = 1 << 18
_REF_NAME = "org.opencontainers.image.ref.name"


def archive(name: str, image: Image, blobs: HasBlobFiles) -> Iterator[bytes]:
    """The bytes of an archive that holds `image`, which podman names after the `ref.name` of its entry.

    Raises StorageError: a file cannot be read, or is not of the size that it should have.
    """
    entry = replace(image.manifest.descriptor, annotations={_REF_NAME: name})
    yield from _file("oci-layout", marker_json())
    yield from _file("index.json", index_json(None, [entry], "index.json"))
    yield from _file(blob_name(image.manifest.digest), image.manifest.raw)
    yield from _file(blob_name(image.manifest.config.digest), image.config.raw)
    for layer in {layer.digest: layer for layer in image.manifest.layers}.values():
        path = blobs.blob_path(layer.digest)
        left = layer.size
        yield _header(blob_name(layer.digest), layer.size)
        try:
            with path.open("rb") as stream:
                while left >= 0 and (chunk := stream.read(_CHUNK)):
                    left -= len(chunk)
                    yield chunk
        except OSError as error:
            raise disk_error(error, f"cannot read {path}") from error
        if left:
            raise StorageError(f"{path} has not the {layer.size} bytes of its layer", "pull the image again")
        yield bytes(-layer.size % BLOCKSIZE)
    yield bytes(2 * BLOCKSIZE)


def _file(name: str, data: bytes) -> Iterator[bytes]:
    yield _header(name, len(data))
    yield data
    yield bytes(-len(data) % BLOCKSIZE)


def _header(name: str, size: int) -> bytes:
    info = TarInfo(name)
    info.size = size
    return info.tobuf(GNU_FORMAT)
