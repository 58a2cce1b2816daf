"""What docker loads: the members of the tar archives that are made while they are sent.

A header of a tar archive states the size of what follows. A layer that is decompressed on its way does not tell it, so
it is guessed from the end of the file, held against what comes, and counted where the guess was wrong.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from tarfile import BLOCKSIZE

from polyarch.contract import (
    CONTAINERD_NAME,
    Digest,
    HasBlobFiles,
    Image,
    TarMember,
    blob_name,
    bytes_member,
    decompressed,
    disk_error,
    file_member,
    index_json,
    marker_json,
)

_GZIP = b"\x1f\x8b"
_SMALLEST_GZIP = 18  # RFC 1952, 2.3: header and trailer


def layers_only(
    image: Image,
    blobs: HasBlobFiles,
    wanted: Collection[Digest],
    counted: Collection[str],
    proven: Callable[[], None] = lambda: None,
) -> Iterator[TarMember]:
    """What `docker save` wrote before version 25: config and layers, of which only those wanted are there.

    The layers are decompressed on their way. Docker itself would do that more slowly, one after the other, and before
    version 23 does not know zstd. Those named in `counted` are read once more for their size. `proven` is called before
    what makes an image of it is given out.
    """
    config = f"{_hex(image.config.digest)}.json"
    names = {layer.digest: f"{_hex(layer.digest)}.tar" for layer in image.manifest.layers}
    yield bytes_member(config, image.config.raw)
    for digest in _as_they_come(image):
        if digest in wanted:
            path, name = blobs.blob_path(digest), names[digest]
            chunks = partial(_decompressed, path, f"layer {digest}")
            guess = None if name in counted else _guessed_size(path)
            yield TarMember(name, sum(map(len, chunks())) if guess is None else guess, chunks)
    proven()
    yield _manifest(image, config, [names[layer.digest] for layer in image.manifest.layers])


def layout(image: Image, blobs: HasBlobFiles, proven: Callable[[], None] = lambda: None) -> Iterator[TarMember]:
    """An OCI image layout of all blobs as they are, with docker's manifest.json beside it: every engine reads one."""
    manifest, name = image.manifest, image.reference
    annotations = {
        CONTAINERD_NAME: f"{name.name}:{name.tag}",
        "org.opencontainers.image.ref.name": name.tag,
    }
    yield bytes_member("oci-layout", marker_json())
    yield bytes_member(blob_name(manifest.digest), manifest.raw)
    yield bytes_member(blob_name(manifest.config.digest), image.config.raw)
    for digest in _as_they_come(image):
        path = blobs.blob_path(digest)
        yield file_member(blob_name(digest), path, _size(path))
    proven()
    yield bytes_member(
        "index.json", index_json(None, [replace(manifest.descriptor, annotations=annotations)], "index.json")
    )
    yield _manifest(image, blob_name(manifest.config.digest), [blob_name(layer.digest) for layer in manifest.layers])


def _as_they_come(image: Image) -> Iterable[Digest]:
    """The layers, each once, the largest first: so they are fetched."""
    return dict.fromkeys(layer.digest for layer in sorted(image.manifest.layers, key=lambda layer: -layer.size))


def _manifest(image: Image, config: str, layers: list[str]) -> TarMember:
    """manifest.json (moby, image/tarexport): which files make the image, and its name.

    It comes last, so that an archive which breaks off is none.
    """
    name = f"{image.reference.name}:{image.reference.tag}"
    return bytes_member(
        "manifest.json", json.dumps([{"Config": config, "RepoTags": [name], "Layers": layers}]).encode()
    )


def _guessed_size(path: Path) -> int | None:
    """The bytes of a layer once it is decompressed, as far as that can be told without doing it; else None.

    RFC 1952, 2.3.1: a gzip member ends with its size modulo 2^32. A file of several members ends with the last one's,
    which is likely to be smaller than the file: then it is no guess.
    """
    try:
        with path.open("rb") as stream:
            compressed = stream.seek(0, 2)
            stream.seek(0)
            if stream.read(2) != _GZIP or compressed < _SMALLEST_GZIP:
                return None
            stream.seek(-4, 2)
            size = int.from_bytes(stream.read(4), "little")
    except OSError as error:
        raise disk_error(error, f"cannot read {path}") from error
    # A tar archive has whole blocks, and compression makes it smaller by more than the few bytes of its own.
    return size if size % BLOCKSIZE == 0 and size >= compressed - BLOCKSIZE else None


def _decompressed(path: Path, where: str) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            yield from decompressed(stream, where)
    except OSError as error:
        raise disk_error(error, f"cannot read {path}") from error


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise disk_error(error, f"cannot read {path}") from error


def _hex(digest: Digest) -> str:
    return digest.partition(":")[2]
