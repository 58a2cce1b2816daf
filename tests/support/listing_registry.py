"""A registry in memory, for tests of what stands above registries: it counts what it is asked for."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager

from polyarch.contract import BlobStream, Descriptor, Document, NotFoundError, Reference, digest_of, parse_document
from polyarch.oci.media_types import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST


class MemoryRegistry:
    """Documents and blobs by digest, and names that point at them. `requests` lists every question."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.blobs: dict[str, bytes] = {}
        self.names: dict[str, str] = {}
        self.requests: list[str] = []

    # Filling it.

    def add_blob(self, data: bytes) -> dict[str, object]:
        """Keeps a blob; its descriptor without media type."""
        self.blobs[digest_of(data)] = data
        return {"digest": digest_of(data), "size": len(data)}

    def add_manifest(self, platform: dict[str, str], *layers: bytes) -> dict[str, object]:
        """Keeps a manifest with a config for `platform`; its descriptor without platform."""
        config = {**platform, "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}}
        return self.add_document(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": {"mediaType": OCI_CONFIG, **self.add_blob(json.dumps(config).encode())},
                "layers": [{"mediaType": OCI_LAYER_GZIP, **self.add_blob(layer)} for layer in layers],
            }
        )

    def add_index(self, *entries: dict[str, object]) -> dict[str, object]:
        """Keeps an index; its descriptor."""
        return self.add_document({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": list(entries)})

    def add_document(self, document: dict[str, object]) -> dict[str, object]:
        """Keeps any document; its descriptor."""
        raw = json.dumps(document).encode()
        self.documents[digest_of(raw)] = raw
        return {"mediaType": document.get("mediaType", OCI_MANIFEST), "digest": digest_of(raw), "size": len(raw)}

    def name(self, name: str, descriptor: dict[str, object]) -> None:
        """Lets a full name (`docker.io/library/app:1.0`) point at a document."""
        self.names[name] = str(descriptor["digest"])

    # What the contract asks for.

    def _find(self, reference: Reference) -> str:
        digest = reference.digest or self.names.get(str(reference), "")
        if digest not in self.documents:
            raise NotFoundError(f"{reference} is not here")
        return digest

    def head(self, reference: Reference) -> Descriptor | None:
        self.requests.append(f"HEAD {reference.target}")
        document = parse_document(self.documents[self._find(reference)])
        return Descriptor(document.media_type, document.digest, len(document.raw))

    def get(self, reference: Reference) -> Document:
        self.requests.append(f"GET {reference.target}")
        return parse_document(self.documents[self._find(reference)])

    @contextmanager
    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> Iterator[BlobStream]:
        self.requests.append(f"BLOB {blob.digest}")
        if blob.digest not in self.blobs:
            raise NotFoundError(f"blob {blob.digest} is not here")
        yield BlobStream(offset, iter([self.blobs[blob.digest][offset:]]))

    def close(self) -> None:
        """Nothing is open."""


class ListingRegistry(MemoryRegistry):
    """One that lists tags, too."""

    def tags(self, reference: Reference) -> Iterator[str]:
        self.requests.append(f"TAGS {reference.repository}")
        for name in sorted(self.names):
            if name.startswith(f"{reference.name}:"):
                yield name.rpartition(":")[2]
