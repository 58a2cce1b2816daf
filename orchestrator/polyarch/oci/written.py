"""Documents made here: OCI image-spec 1.1, manifest.md and image-index.md. The same content gives the same bytes."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from polyarch.oci.config import ImageConfig
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.oci.document import Index, Manifest
from polyarch.oci.media_types import OCI_CONFIG, OCI_INDEX, OCI_MANIFEST

_NONE: Mapping[str, str] = {}


def encode(document: Mapping[str, object]) -> bytes:
    """JSON without blanks, the keys in their order.

    Half of a surrogate pair, which JSON from outside can have, and which is how Python has bytes that are no UTF-8
    (`os.fsdecode`), stays what it is, escaped.
    """
    try:
        return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(document, separators=(",", ":")).encode()


def described(config: ImageConfig) -> Descriptor:
    """The descriptor of a config that was made here."""
    return Descriptor(OCI_CONFIG, config.digest, len(config.raw))


def write_manifest(
    config: Descriptor, layers: Sequence[Descriptor], annotations: Mapping[str, str] = _NONE
) -> Manifest:
    """A manifest of an image with these layers, bottom first."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": config.to_json(),
        "layers": [layer.to_json() for layer in layers],
    }
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    raw = encode(document)
    return Manifest(raw, digest_of(raw), OCI_MANIFEST, config, tuple(layers), dict(annotations))


def write_index(
    manifests: Sequence[Descriptor], annotations: Mapping[str, str] = _NONE, *, media_type: str = OCI_INDEX
) -> Index:
    """An index of these entries, in their order; each has the platform that it is for."""
    document: dict[str, object] = {
        "schemaVersion": 2,
        "mediaType": media_type,
        "manifests": [manifest.to_json() for manifest in manifests],
    }
    if annotations:
        document["annotations"] = dict(sorted(annotations.items()))
    raw = encode(document)
    return Index(raw, digest_of(raw), media_type, tuple(manifests), dict(annotations))
