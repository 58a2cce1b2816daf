"""The storage `docker-archive:FILE`: what `docker save` writes, for everything that reads no more than that.

Layers are uncompressed, as the format wants them (moby, image/spec/v1.2.md), each checked against its diff ID on the
way; the config stays as it is, and so does the image's ID. Manifests are not kept.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from io import RawIOBase
from typing import BinaryIO, cast

from polyarch.contract import (
    MAX_CONFIG_SIZE,
    MAX_DOCUMENT_SIZE,
    Digest,
    DockerArchive,
    HasBlobFiles,
    Image,
    ImageConfig,
    IntegrityError,
    Manifest,
    Reference,
    StorageServices,
    UsageError,
    decompressed,
    is_layer,
    parse_config,
    parse_document,
    parse_reference,
)
from polyarch_plugins.storages.archives.archive import Archive, chunks_of
from polyarch_plugins.storages.archives.tar_writer import TarWriter


@dataclass(frozen=True, slots=True)
class _Kept:
    """An image of the file, with the names that it has."""

    names: tuple[Reference, ...]
    manifest: Manifest
    config: ImageConfig


class DockerArchiveStorage:
    """Satisfies ImageLoader and ListsImages."""

    def __init__(self, services: StorageServices) -> None:
        """Touches no file. Raises UsageError where none was named."""
        self._archive = Archive("docker-archive", services, DockerArchive)

    def has(self, image: Image) -> bool:
        """True if the name points at this config. Raises UsageError for a name that cannot be given."""
        name = _name(image)
        return any(name in each.names and each.config.digest == image.config.digest for each in self._kept())

    def lacks(self, image: Image) -> Collection[Digest]:
        """The layers whose contents are not in the file; the config is at hand in the image."""
        place = self._archive.read()
        pairs = zip(image.manifest.layers, image.config.diff_ids, strict=False)
        lacked = [layer.digest for layer, diff_id in pairs if place is None or place.size(diff_id) is None]
        return list(dict.fromkeys(lacked))

    def images(self) -> Iterator[Image]:
        """Every image under every name."""
        for kept in self._kept():
            for name in kept.names:
                yield Image(name, kept.manifest, kept.manifest, kept.config, kept.config.platform)

    def _kept(self) -> list[_Kept]:
        place = self._archive.read()
        found = []
        for held in place.images if place else ():
            assert place is not None
            manifest = parse_document(
                place.read(held.root.digest, MAX_DOCUMENT_SIZE), held.root.media_type, place.where
            )
            if isinstance(manifest, Manifest):
                config = parse_config(place.read(manifest.config.digest, MAX_CONFIG_SIZE), place.where)
                try:
                    names = tuple(map(parse_reference, held.names))
                except UsageError as error:
                    raise IntegrityError(f"{place.where}: {error.message}") from error
                found.append(_Kept(names, manifest, config))
        return found

    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        """Write the archive again, with the image, and put it in the old one's place."""
        name = _name(image)
        with self._archive.replaced() as stream:
            place, lacked = self._archive.read(), set(self.lacks(image))
            others = [
                replace(each, names=tuple(other for other in each.names if other != name)) for each in self._kept()
            ]
            # An image of the file that has lost its last name goes; one that never had any is somebody's, and stays.
            staying = [new for old, new in zip(self._kept(), others, strict=True) if new.names or not old.names]
            mine = _Kept((name,), image.manifest, image.config)
            same = next((each for each in staying if each.config.digest == image.config.digest), None)
            if same is not None:
                staying.remove(same)
                mine = replace(mine, names=(*same.names, name))
            tar, written = TarWriter(stream), set[Digest]()
            for each in (*staying, mine):
                _add(tar, written, f"{_hex(each.config.digest)}.json", each.config.digest, each.config.raw)
                for layer, diff_id in zip(each.manifest.layers, each.config.diff_ids, strict=True):
                    if diff_id in written:
                        continue
                    written.add(diff_id)
                    if each is mine and layer.digest in lacked:
                        source = chunks_of(blobs.blob_path(layer.digest))
                    else:
                        assert place is not None
                        source = place.chunks(diff_id if place.size(diff_id) is not None else layer.digest)
                    tar.add(f"{_hex(diff_id)}.tar", _checked(source, diff_id, str(self._archive.path)))
            tar.add("manifest.json", [_manifest((*staying, mine))])
            tar.finish()

    def close(self) -> None:
        """Close the file."""
        self._archive.close()


def _name(image: Image) -> Reference:
    """The name as the format knows it. Raises UsageError."""
    reference = image.reference
    if reference.scheme or not reference.tag:
        raise UsageError(
            f"{reference.familiar}: a docker archive names images by tag only",
            f"name a tag: {reference.familiar_name}:TAG",
        )
    if len(image.config.diff_ids) != len(image.manifest.layers) or not all(
        is_layer(layer.media_type) for layer in image.manifest.layers
    ):
        raise UsageError(f"{reference.familiar} is no image that a docker archive can hold")
    return replace(reference, digest="")


def _hex(digest: Digest) -> str:
    return digest.partition(":")[2]


def _add(tar: TarWriter, written: set[Digest], name: str, digest: Digest, raw: bytes) -> None:
    if digest not in written:
        written.add(digest)
        tar.add(name, [raw])


def _checked(source: Iterator[bytes], diff_id: Digest, where: str) -> Iterator[bytes]:
    """The uncompressed bytes of a layer. Raises IntegrityError at their end where they are not the diff ID's."""
    digest = hashlib.new(diff_id.partition(":")[0])
    for chunk in decompressed(cast("BinaryIO", _Stream(source)), f"{where}: layer {diff_id}"):
        digest.update(chunk)
        yield chunk
    if digest.hexdigest() != _hex(diff_id):
        raise IntegrityError(f"{where}: layer {diff_id} was promised, its contents are {digest.hexdigest()}")


class _Stream(RawIOBase):
    """Chunks, read as a file is."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._left = chunks, b""

    def read(self, size: int = -1) -> bytes:
        """At most `size` bytes; b"" at the end."""
        if not self._left:
            self._left = next(self._chunks, b"")
        data = self._left[:size] if size >= 0 else self._left
        self._left = self._left[len(data) :]
        return data


def _manifest(images: tuple[_Kept, ...]) -> bytes:
    items = [
        {
            "Config": f"{_hex(each.config.digest)}.json",
            "RepoTags": [str(name) for name in each.names],
            "Layers": [f"{_hex(diff_id)}.tar" for diff_id in each.config.diff_ids],
        }
        for each in images
    ]
    return json.dumps(items, separators=(",", ":")).encode()
