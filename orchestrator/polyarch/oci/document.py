"""Manifests and indexes: OCI image-spec manifest.md, image-index.md; Docker's image manifest version 2, schema 2.

The bytes received are kept beside what was read from them: digests are never computed from JSON written again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import field
from typing import TypeAlias

from polyarch.errors import IntegrityError
from polyarch.limits import MAX_DOCUMENT_SIZE as MAX_DOCUMENT_SIZE
from polyarch.limits import MAX_INDEX_ENTRIES, MAX_LAYERS
from polyarch.oci.descriptor import Descriptor, parse_descriptor
from polyarch.oci.digest import Digest, digest_of
from polyarch.oci.json import list_of, parse_json, string_map, text_of
from polyarch.oci.media_types import DOCKER_SCHEMA1, DOCUMENTS, INDEXES, OCI_INDEX, OCI_MANIFEST
from polyarch_platforms.lazy_dataclass import dataclass

# BuildKit marks provenance and SBOM entries so (BuildKit docs/attestations/attestation-storage.md).
ATTESTATION_ANNOTATION = "vnd.docker.reference.type"


@dataclass(frozen=True, slots=True)
class Manifest:
    """One image of one platform: a config and its layers, bottom first."""

    raw: bytes = field(repr=False)
    digest: Digest
    media_type: str
    config: Descriptor
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    subject: Descriptor | None = None

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor of this document itself."""
        return Descriptor(self.media_type, self.digest, len(self.raw))

    @property
    def blobs(self) -> tuple[Descriptor, ...]:
        """The config and the layers, each digest once."""
        return tuple({blob.digest: blob for blob in (self.config, *self.layers)}.values())

    @property
    def size(self) -> int:
        """Bytes of the config and the layers as they travel."""
        return sum(blob.size for blob in self.blobs)


@dataclass(frozen=True, slots=True)
class Index:
    """Several manifests (or further indexes) under one name."""

    raw: bytes = field(repr=False)
    digest: Digest
    media_type: str
    manifests: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)
    artifact_type: str = ""
    subject: Descriptor | None = None

    @property
    def descriptor(self) -> Descriptor:
        """The descriptor of this document itself."""
        return Descriptor(self.media_type, self.digest, len(self.raw))


Document: TypeAlias = Manifest | Index


def is_attestation(descriptor: Descriptor) -> bool:
    """True for an index entry that describes another entry and is no image: provenance, SBOM, signature."""
    return ATTESTATION_ANNOTATION in descriptor.annotations or (
        descriptor.platform is not None and descriptor.platform.architecture == "unknown"
    )


def parse_document(
    raw: bytes,
    media_type: str = "",
    where: str = "document",
    *,
    max_size: int = MAX_DOCUMENT_SIZE,
    max_entries: int = MAX_INDEX_ENTRIES,
) -> Document:
    """The manifest or index in `raw`, of at most `max_size` bytes and `max_entries` entries.

    `media_type` is what the server or the descriptor called it ("" if nobody said). The document's own `mediaType`
    has to agree, and its fields have to fit: a document that can be read both ways is refused (CVE-2021-41190).

    Raises IntegrityError: too large, not JSON, of another type, with a bad descriptor.
    """
    if len(raw) > max_size:
        raise IntegrityError(f"{where}: {len(raw)} bytes are more than a manifest may have ({max_size})")
    document = parse_json(raw, where)
    media_type = media_type.partition(";")[0].strip().lower()
    stated = text_of(document, "mediaType", where, default="")
    if stated in DOCUMENTS and media_type in DOCUMENTS and stated != media_type:
        raise IntegrityError(f"{where}: the media type was given as {media_type}, the document calls itself {stated}")
    kind = stated or (media_type if media_type in DOCUMENTS else _guessed_type(document))
    if kind in DOCKER_SCHEMA1 or (not kind and document.get("schemaVersion") == 1):
        raise IntegrityError(
            f"{where}: a Docker schema 1 manifest, which names no platform and is not supported",
            "ask the publisher of the image to push it again with a current tool",
        )
    if kind not in DOCUMENTS:
        raise IntegrityError(f"{where}: media type {kind or media_type or 'unknown'!r} is no manifest and no index")
    if "manifests" in document and ("layers" in document or "config" in document):
        raise IntegrityError(f"{where}: both an index and a manifest; refused as ambiguous")
    common = {
        "raw": raw,
        "digest": digest_of(raw),
        "media_type": kind,
        "annotations": string_map(document.get("annotations"), f"{where}: annotations"),
        "artifact_type": text_of(document, "artifactType", where, default=""),
        "subject": None
        if document.get("subject") is None
        else parse_descriptor(document["subject"], f"{where}: subject"),
    }
    if kind in INDEXES:
        if "manifests" not in document:
            raise IntegrityError(f"{where}: an index without manifests")
        entries = list_of(document["manifests"], f"{where}: manifests")
        if len(entries) > max_entries:
            raise IntegrityError(f"{where}: {len(entries)} entries are more than an index may have ({max_entries})")
        manifests = tuple(parse_descriptor(entry, f"{where}: entry {i}") for i, entry in enumerate(entries, 1))
        return Index(manifests=manifests, **common)  # type: ignore[arg-type]
    if "config" not in document:
        raise IntegrityError(f"{where}: a manifest without config")
    entries = list_of(document.get("layers"), f"{where}: layers")
    if len(entries) > MAX_LAYERS:
        raise IntegrityError(f"{where}: {len(entries)} layers are more than a manifest may have ({MAX_LAYERS})")
    config = parse_descriptor(document["config"], f"{where}: config")
    layers = tuple(parse_descriptor(layer, f"{where}: layer {i}") for i, layer in enumerate(entries, 1))
    sizes = {config.digest: config.size}
    for layer in layers:
        if sizes.setdefault(layer.digest, layer.size) != layer.size:
            raise IntegrityError(f"{where}: {sizes[layer.digest]} and {layer.size} are both the size of {layer.digest}")
    return Manifest(config=config, layers=layers, **common)  # type: ignore[arg-type]


def _guessed_type(document: Mapping[str, object]) -> str:
    """The type of an OCI document that does not state it (the field is only recommended): by its fields."""
    if document.get("schemaVersion") != 2:
        return ""
    return OCI_INDEX if "manifests" in document else OCI_MANIFEST if "config" in document else ""


def check_document(document: Document, descriptor: Descriptor, where: str) -> None:
    """IntegrityError unless `document` is what `descriptor` promised: digest, size, media type."""
    actual = digest_of(document.raw, descriptor.digest.partition(":")[0])
    if actual != descriptor.digest:
        raise IntegrityError(f"{where}: digest {descriptor.digest} was promised, {actual} came")
    if len(document.raw) != descriptor.size:
        raise IntegrityError(f"{where}: {descriptor.size} bytes were promised, {len(document.raw)} came")
    if descriptor.media_type in DOCUMENTS and descriptor.media_type != document.media_type:
        raise IntegrityError(f"{where}: {descriptor.media_type} was promised, {document.media_type} came")
