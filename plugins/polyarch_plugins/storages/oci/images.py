"""From the entries of an index.json to images at hand, and to the blobs that they need."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from polyarch.contract import (
    CONFIGS,
    DOCUMENTS,
    INDEXES,
    MANIFESTS,
    MAX_CONFIG_SIZE,
    MAX_DOCUMENT_SIZE,
    Descriptor,
    Digest,
    Document,
    Image,
    ImageConfig,
    IntegrityError,
    Layout,
    Manifest,
    NotFoundError,
    Reference,
    StorageError,
    is_attestation,
    is_digest,
    is_layer,
    parse_config,
)
from polyarch_plugins.storages.oci.names import Root, is_made_here, reference_of, root_of

_MAX_DEPTH = 4
"""Indexes inside indexes that are followed."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A manifest at hand under a name. The descriptor's platform is None where only the config tells it."""

    reference: Reference
    root: Root
    manifest: Descriptor


def variants(layout: Layout, entry: Descriptor) -> tuple[Variant, ...]:
    """The manifests at hand that an entry of index.json leads to. Raises StorageError for damaged documents."""
    found = {manifest.digest: manifest for manifest in _manifests(layout, entry, _MAX_DEPTH)}
    if is_made_here(entry) and len(found) == 1 and entry.platform:
        found = {digest: replace(manifest, platform=entry.platform) for digest, manifest in found.items()}
    reference, root = reference_of(entry), root_of(entry)
    return tuple(Variant(reference, root, manifest) for manifest in found.values())


def _manifests(layout: Layout, descriptor: Descriptor, depth: int) -> Iterator[Descriptor]:
    if is_attestation(descriptor) or not layout.has_blob(descriptor):
        return
    if descriptor.media_type in MANIFESTS:
        yield descriptor
    elif descriptor.media_type in INDEXES and depth:
        document = layout.read_document(descriptor)
        if not isinstance(document, Manifest):
            for entry in document.manifests:
                yield from _manifests(layout, entry, depth - 1)


def load(layout: Layout, variant: Variant) -> Image | None:
    """The image, if it is whole; None for one that lacks blobs, and for what is no image but an artifact.

    Raises StorageError for damaged documents.
    """
    try:
        manifest = layout.read_document(variant.manifest)
        if not isinstance(manifest, Manifest) or manifest.config.media_type not in CONFIGS:
            return None
        if not all(layout.has_blob(blob) or blob.urls for blob in manifest.blobs):
            return None
        config = _read_config(layout, manifest.config)
    except NotFoundError:
        return None
    root = _read_root(layout, variant.root) or manifest
    return Image(variant.reference, root, manifest, config, variant.manifest.platform or config.platform)


def _read_config(layout: Layout, config: Descriptor) -> ImageConfig:
    where = f"config {config.digest} in {layout.directory}"
    try:
        return parse_config(layout.read_blob(config.digest, MAX_CONFIG_SIZE), where)
    except IntegrityError as error:
        raise StorageError(error.message, "remove the image and pull it again") from error


def _read_root(layout: Layout, root: Root) -> Document | None:
    """The document that the name points at in the registry; None if somebody has taken it away."""
    try:
        size = layout.blob_path(root.digest).stat().st_size
        return layout.read_document(Descriptor(root.media_type, root.digest, size))
    except (NotFoundError, FileNotFoundError):
        return None


def needed(layout: Layout, entries: Iterable[Descriptor]) -> set[Digest]:
    """The digest of every blob that the entries need, themselves included.

    What a root names without being at hand as a variant is not needed. Raises StorageError for damaged documents:
    what those need cannot be told.
    """
    found: set[Digest] = set()
    waiting: list[Descriptor] = []
    for entry in entries:
        found.add(root_of(entry).digest)
        waiting.append(entry)
    visited: set[Digest] = set()
    while waiting:
        descriptor = waiting.pop()
        found.add(descriptor.digest)
        if descriptor.digest in visited or not layout.has_blob(descriptor):
            continue
        visited.add(descriptor.digest)
        if descriptor.media_type in DOCUMENTS:
            document = layout.read_document(descriptor)
            if isinstance(document, Manifest):
                found.update(blob.digest for blob in document.blobs)
            else:
                waiting += document.manifests
        elif descriptor.media_type not in CONFIGS and not is_layer(descriptor.media_type):
            found |= _mentioned(layout, descriptor)
    return found


def _mentioned(layout: Layout, descriptor: Descriptor) -> set[Digest]:
    """Every digest in a document of a type that is not known here, if it is JSON: better one blob too many kept."""
    if descriptor.size > MAX_DOCUMENT_SIZE:
        return set()
    digests: set[Digest] = set()
    waiting: list[object] = []
    with layout.open_blob(descriptor.digest) as stream:
        try:
            waiting.append(json.loads(stream.read(MAX_DOCUMENT_SIZE)))
        except (ValueError, RecursionError):
            return digests
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and is_digest(value):
            digests.add(value)
    return digests
