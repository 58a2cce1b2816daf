"""What a builder has made, taken into the storage: verified as what is pulled is, layers that are here already kept."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import BinaryIO

from polyarch.contract.storage import Image
from polyarch.errors import IntegrityError, NotFoundError, StorageError
from polyarch.events import Emit, Warned, ignore
from polyarch.files import disk_error
from polyarch.oci.compression import decompressed, is_compressed
from polyarch.oci.config import MAX_CONFIG_SIZE, ImageConfig, check_layer_count, parse_config
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Document, Manifest
from polyarch.oci.json import mapping_of, parse_json
from polyarch.oci.layout import Layout
from polyarch.oci.media_types import DOCKER_LAYER_GZIP, OCI_LAYER_GZIP
from polyarch.oci.written import described, encode, write_index, write_manifest
from polyarch.reference import Reference
from polyarch.selection.types import Candidate, Verdict
from polyarch.transfer.made import chunks_of, store_made
from polyarch.transfer.staged import KeepsBlobs
from polyarch.unpack.chunked import NotChunked
from polyarch.unpack.entrypoint import Mislabelled
from polyarch.unpack.limits import USUAL, Limits
from polyarch.unpack.packing import LayerPacker
from polyarch.unpack.recompress import Compression, recompress
from polyarch.verbs.proof import entrypoint_of, prove
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, to_oci

# OCI image-spec, annotations.md
_BASE_NAME = "org.opencontainers.image.base.name"
_BASE_DIGEST = "org.opencontainers.image.base.digest"


@dataclass(frozen=True, slots=True)
class BuiltVariant:
    """An image that was made, of one platform, under all its names. `root` is what these point at."""

    names: tuple[Reference, ...]
    platform: Platform
    manifest: Manifest
    config: ImageConfig
    root: Document

    def to_json(self) -> dict[str, object]:
        """One line of `build --format json`; `digest` is what the names point at."""
        return {
            "platform": str(self.platform),
            "manifest": self.manifest.digest,
            "digest": self.root.digest,
            "reference": str(self.names[0]),
        }


@dataclass(frozen=True, slots=True)
class Taken:
    """A builder's result whose blobs are in the storage."""

    platform: Platform
    manifest: Manifest
    config: ImageConfig


def take(
    output: Path,
    platform: Platform,
    name: str,
    storage: KeepsBlobs,
    bases: Sequence[Image],
    work: Path,
    compression: Compression | None = None,
    emit: Emit = ignore,
    *,
    limits: Limits = USUAL,
) -> Taken:
    """Bring the one image of the layout `output` into the storage.

    The layers of `bases` are there; the others are hashed, and compressed where they are not, in files in `work`; with
    `compression` in that way, whatever they come in; what cannot be compressed so is told.
    `name` is for messages. Raises IntegrityError where it is not what it says, or starts a program for another
    platform than `platform`; StorageError.
    """
    layout = Layout(output)
    try:
        (entry,) = layout.entries()
        manifest = layout.read_document(entry)
        if not isinstance(manifest, Manifest):
            raise ValueError
        config = parse_config(layout.read_blob(manifest.config.digest, MAX_CONFIG_SIZE), f"the config of {name}")
    except (ValueError, NotFoundError, StorageError) as error:
        raise IntegrityError(f"what was built of {name} is no image: {error}") from error
    check_layer_count(config, len(manifest.layers), name)
    config, known = labelled(config, platform), layers_of(bases)
    layers = [
        known[diff_id]
        if diff_id in known
        else _Layer(layout, blob, diff_id, name, limits).stored(storage, work, compression, emit)
        for blob, diff_id in zip(manifest.layers, config.diff_ids, strict=True)
    ]
    for layer in layers:
        if not storage.has_blob(layer):
            raise StorageError(f"a layer that {name} is built upon was removed meanwhile", "build it again")
    store_made(storage, described(config), [config.raw])
    made = write_manifest(described(config), layers, _annotations(manifest.annotations, bases))
    store_made(storage, made.descriptor, [made.raw])
    verdict = Verdict(Candidate(platform, made.descriptor, Reference("localhost", "build"), "manifest"), "exact")
    try:
        proven = prove(f"{name} ({platform})", verdict, config, entrypoint_of(storage, made, config, limits), None)
    except Mislabelled as error:
        raise IntegrityError(
            error.message, "let its last stage be of the target platform: FROM without --platform"
        ) from error
    return Taken(proven, made, config)


def layers_of(bases: Iterable[Image]) -> dict[Digest, Descriptor]:
    """The layers of images by diff ID, as a manifest of OCI's states them, which has no place for Docker's types."""
    return {
        diff_id: replace(layer, media_type=OCI_LAYER_GZIP) if layer.media_type == DOCKER_LAYER_GZIP else layer
        for image in bases
        for diff_id, layer in zip(image.config.diff_ids, image.manifest.layers, strict=True)
    }


def labelled(config: ImageConfig, platform: Platform) -> ImageConfig:
    """The config, with the platform that was built for where it names another system or architecture.

    So buildah 1.28 does where a stage is `FROM scratch`: after a stage of another platform, and out of its cache.
    """
    stated = config.platform
    same = (stated.os, stated.architecture) == (platform.os, platform.architecture)
    if same and (stated.variant or not platform.variant):
        return config
    document = mapping_of(parse_json(config.raw, "config"), "config")
    rest = {key: value for key, value in document.items() if key not in ("os", "architecture", "variant")}
    return parse_config(encode({**to_oci(platform), **rest}))


def _annotations(found: Mapping[str, str], bases: Iterable[Image]) -> dict[str, str]:
    """Those of the builder, with the name and the digest of the base as they are outside of the builder's store."""
    said = dict(found)
    for image in bases:
        if said.get(_BASE_NAME, "").endswith(f"@{image.manifest.digest}"):
            said |= {_BASE_NAME: str(image.reference), _BASE_DIGEST: image.manifest.digest}
    return said


def commit(storage: KeepsBlobs, taken: Sequence[Taken], names: Sequence[Reference]) -> tuple[BuiltVariant, ...]:
    """Let the names point at what was taken: at the manifest, or at an index where there are several."""
    root: Document = taken[0].manifest
    if len(taken) > 1:
        root = write_index([replace(each.manifest.descriptor, platform=each.platform) for each in taken])
    for name in names:
        for each in taken:
            storage.commit(Image(name, root, each.manifest, each.config, each.platform))
    return tuple(BuiltVariant(tuple(names), each.platform, each.manifest, each.config, root) for each in taken)


@dataclass(frozen=True, slots=True)
class _Layer:
    """A layer in a builder's layout."""

    layout: Layout
    blob: Descriptor
    diff_id: Digest
    name: str
    limits: Limits

    def stored(self, storage: KeepsBlobs, work: Path, compression: Compression | None, emit: Emit) -> Descriptor:
        """Bring it in; its descriptor as it is kept."""
        with self.layout.open_blob(self.blob.digest) as stream:
            if compression is not None:
                try:
                    return self._recompressed(stream, storage, work, compression)
                except NotChunked as why:
                    emit(Warned(f"a layer of {self.name} is not compressed by {compression}: {why}"))
                    stream.seek(0)
            packed = is_compressed(stream.read(8))
            stream.seek(0)
            return self._as_it_is(stream, storage) if packed else self._compressed(stream, storage, work)

    def _as_it_is(self, stream: BinaryIO, storage: KeepsBlobs) -> Descriptor:
        plain = hashlib.sha256()
        for data in decompressed(stream, self.name):
            plain.update(data)
        self._check(plain.hexdigest())
        blob = Descriptor(self.blob.media_type, self.blob.digest, self.blob.size)
        store_made(storage, blob, chunks_of(stream))
        return blob

    def _compressed(self, stream: BinaryIO, storage: KeepsBlobs, work: Path) -> Descriptor:
        try:
            with tempfile.TemporaryFile(dir=work) as file:
                with contextlib.closing(LayerPacker(file)) as packer:
                    for data in chunks_of(stream):
                        packer.write(data)
                    packed = packer.finish()
                self._check(packed.diff_id.partition(":")[2])
                blob = Descriptor(OCI_LAYER_GZIP, packed.digest, packed.size)
                store_made(storage, blob, chunks_of(file))
                return blob
        except OSError as error:
            raise disk_error(error, f"cannot pack a layer in {work}") from error

    def _recompressed(self, stream: BinaryIO, storage: KeepsBlobs, work: Path, compression: Compression) -> Descriptor:
        try:
            with tempfile.TemporaryFile(dir=work) as file:
                where = f"a layer of what was built of {self.name}"
                blob = recompress(stream, where, self.diff_id, compression, file, limits=self.limits)
                store_made(storage, blob, chunks_of(file))
                return blob
        except OSError as error:
            raise disk_error(error, f"cannot pack a layer in {work}") from error

    def _check(self, digits: str) -> None:
        if self.diff_id != f"sha256:{digits}":
            raise IntegrityError(f"a layer of what was built of {self.name} is sha256:{digits}, not {self.diff_id}")
