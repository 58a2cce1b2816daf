"""What is sent to a device that forbids forwarding: one tar archive of its images, made while it is sent.

It is an OCI image layout with docker's manifest.json beside it, which `docker load`, `podman load` and `ctr images
import` all read. What names images comes last, so that an archive which breaks off names none.

Layers that a device has are left out, which its engine allows in its own way (tried with docker 20.10, podman 4.3 and
containerd 1.6; each fails where it misses a layer after all, and the way out is to leave nothing out):

- docker opens no file for a layer whose chain ID it has (moby, image/tarexport/load.go). With containerd's image store
  it looks for the blob itself, of which it does not tell whether it has it: then nothing is left out.
- podman finds a layer that was made of the same blob, or of one that it knows to hold the same (containers/image,
  storage/storage_dest.go, TryReusingBlob): not one that came in another compression.
- containerd finds blobs in its content store. Where one is missing, `ctr` fails, but the image has its name already.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Sequence
from functools import lru_cache, partial
from pathlib import Path

from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.files import disk_error
from polyarch.fleet.facts import Engine
from polyarch.oci.compression import decompressed
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.held import CONTAINERD_NAME, REF_NAME, blob_name
from polyarch.oci.layout import index_json, marker_json
from polyarch.oci.tar_stream import TarMember, bytes_member, file_member, tar_chunks, tar_size

_ZSTD_SINCE = 23
"""The first docker that undoes zstd (its release notes; moby 41759)."""


def image_archive(
    images: Sequence[tuple[Image, str]], blobs: HasBlobFiles, leave_out: Collection[Digest], engine: Engine
) -> Iterator[bytes]:
    """The bytes of the archive that brings `engine` these images under these names, 256 KiB at a time at most.

    A name is whole and has a tag (`docker.io/library/busybox:1.36`). `leave_out` are layers that the device has, and
    that none of the images lacks there; what the engine cannot do without is sent all the same. The archive can be
    loaded as it comes, but for several images into podman, which takes one of a layout and no more: they are archives
    in an archive, `1.tar`, `2.tar` and so on, to be loaded in this order, because the later leave out what the earlier
    bring.

    Raises NotFoundError at once where a blob is not in `blobs`; the iterator raises StorageError where a file cannot be
    read, or is not of the size that it should have.
    """
    return tar_chunks(_members(images, blobs, leave_out, engine))


def _members(
    images: Sequence[tuple[Image, str]], blobs: HasBlobFiles, leave_out: Collection[Digest], engine: Engine
) -> list[TarMember]:
    if engine.kind == "podman" and len(images) > 1:
        return _one_by_one(images, blobs, leave_out)
    if engine.kind == "docker":
        return _layout(images, blobs, () if engine.by_digest else leave_out, unpack_zstd=not _undoes_zstd(engine))
    return _layout(images, blobs, leave_out)


def _one_by_one(
    images: Sequence[tuple[Image, str]], blobs: HasBlobFiles, leave_out: Collection[Digest]
) -> list[TarMember]:
    members, there = [], set(leave_out)
    for number, (image, name) in enumerate(images, 1):
        inner = _layout([(image, name)], blobs, there)
        members.append(TarMember(f"{number}.tar", tar_size(inner), partial(tar_chunks, inner)))
        there.update(layer.digest for layer in image.manifest.layers)
    return members


def _layout(
    images: Sequence[tuple[Image, str]],
    blobs: HasBlobFiles,
    leave_out: Collection[Digest],
    *,
    unpack_zstd: bool = False,
) -> list[TarMember]:
    """With `unpack_zstd`, zstd layers are sent uncompressed, under their diff IDs: docker goes by manifest.json."""
    unpacked: dict[Digest, Digest] = {}
    if unpack_zstd:
        for image, _ in images:
            pairs = zip(image.manifest.layers, image.config.diff_ids, strict=False)
            unpacked.update((layer.digest, diff_id) for layer, diff_id in pairs if layer.media_type.endswith("zstd"))
    entries, items = [], []
    for image, name in images:
        manifest = image.manifest
        entries.append(
            Descriptor(
                manifest.media_type,
                manifest.digest,
                len(manifest.raw),
                annotations={CONTAINERD_NAME: name, REF_NAME: name},
            )
        )
        items.append(
            {
                "Config": blob_name(manifest.config.digest),
                "RepoTags": [name],
                "Layers": [blob_name(unpacked.get(layer.digest, layer.digest)) for layer in manifest.layers],
            }
        )
    return [
        bytes_member("oci-layout", marker_json()),
        *_blobs(images, blobs, leave_out, unpacked).values(),
        bytes_member("index.json", index_json(None, entries, "index.json")),
        bytes_member("manifest.json", json.dumps(items, separators=(",", ":")).encode()),
    ]


def _blobs(
    images: Sequence[tuple[Image, str]],
    blobs: HasBlobFiles,
    leave_out: Collection[Digest],
    unpacked: dict[Digest, Digest],
) -> dict[Digest, TarMember]:
    """Manifests, configs and those layers that are not left out, each once; what `unpacked` names is uncompressed."""
    found: dict[Digest, TarMember] = {}
    for image, _ in images:
        manifest, config = image.manifest, image.manifest.config.digest
        found[manifest.digest] = bytes_member(blob_name(manifest.digest), manifest.raw)
        found[config] = bytes_member(blob_name(config), image.config.raw)
        for layer in manifest.layers:
            if layer.digest in found or layer.digest in leave_out:
                continue
            path = blobs.blob_path(layer.digest)
            if diff_id := unpacked.get(layer.digest):
                found[layer.digest] = TarMember(
                    blob_name(diff_id), _unpacked_size(layer.digest, path), partial(_unpacked, layer.digest, path)
                )
            else:
                found[layer.digest] = file_member(blob_name(layer.digest), path, layer.size)
    return found


def _undoes_zstd(engine: Engine) -> bool:
    """False, too, for a docker that does not tell its version: every docker takes what is uncompressed."""
    version = re.match(r"[0-9]+", engine.version)
    return version is not None and int(version[0]) >= _ZSTD_SINCE


@lru_cache(maxsize=1024)
def _unpacked_size(digest: Digest, path: Path) -> int:
    """A header of a tar archive states the size of what follows: so the layer is decompressed once more for that."""
    return sum(map(len, _unpacked(digest, path)))


def _unpacked(digest: Digest, path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            yield from decompressed(stream, f"layer {digest}")
    except OSError as error:
        raise disk_error(error, f"cannot read {path}") from error
