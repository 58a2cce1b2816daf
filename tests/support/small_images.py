"""Images of a few bytes, and a storage that only holds what it is given, for tests of what reads a storage."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from pathlib import Path

from polyarch.contract import BlobWriter, Descriptor, Document, Image, Manifest, NotFoundError, Platform, Reference
from polyarch.oci.config import parse_config
from polyarch.oci.digest import digest_of
from polyarch.oci.document import Index, parse_document
from polyarch.oci.media_types import OCI_CONFIG, OCI_INDEX, OCI_LAYER_GZIP, OCI_MANIFEST
from polyarch.reference import parse_reference
from polyarch_platforms.platform import parse, to_oci


def encoded(value: object) -> bytes:
    """JSON as some other tool may write it."""
    return json.dumps(value, indent=2).encode()


@dataclass
class SmallStorage:
    """The reading half of a storage: images in a list, blobs as files of a folder."""

    folder: Path
    listed: list[Image] = field(default_factory=list)
    made: int = 0

    def blob(self, data: bytes, media_type: str) -> Descriptor:
        """Keep `data`."""
        descriptor = Descriptor(media_type, digest_of(data), len(data))
        self.path(descriptor.digest).write_bytes(data)
        return descriptor

    def path(self, digest: str) -> Path:
        """Where a blob is, or would be."""
        return self.folder / digest.replace(":", "-")

    def manifest(self, platform: str, layers: Sequence[bytes] = (b"layer",)) -> Image:
        """An image whose name points at its manifest; it has no good name yet."""
        asked = parse(platform)
        config = self.blob(
            encoded(
                {**to_oci(asked), "rootfs": {"type": "layers", "diff_ids": [digest_of(layer) for layer in layers]}}
            ),
            OCI_CONFIG,
        )
        document = parse_document(
            encoded(
                {
                    "schemaVersion": 2,
                    "mediaType": OCI_MANIFEST,
                    "config": config.to_json(),
                    "layers": [self.blob(layer, OCI_LAYER_GZIP).to_json() for layer in layers],
                }
            )
        )
        assert isinstance(document, Manifest)
        raw = self.path(config.digest).read_bytes()
        return Image(parse_reference("unnamed"), document, document, parse_config(raw), asked)

    def add(self, name: str, images: Sequence[Image], root: Document | None = None) -> None:
        """Let `name` stand for `images`, all under `root` where one is given."""
        reference = parse_reference(name)
        self.listed = [image for image in self.listed if image.reference != reference]
        self.listed += [replace(image, reference=reference, root=root or image.root) for image in images]

    # What a storage has to be able to do:

    def images(self) -> Iterator[Image]:
        self.made += 1
        return iter(tuple(self.listed))

    def find(self, reference: Reference) -> tuple[Image, ...]:
        return tuple(image for image in self.listed if image.reference == reference)

    def blob_path(self, digest: str) -> Path:
        if not self.path(digest).exists():
            raise NotFoundError(f"no blob {digest}")
        return self.path(digest)

    def has_blob(self, blob: Descriptor) -> bool:
        raise AssertionError("reading a storage does not begin a pull")

    def write_blob(self, blob: Descriptor) -> AbstractContextManager[BlobWriter | None]:
        raise AssertionError("a storage that is read is not written")

    def commit(self, image: Image) -> None:
        raise AssertionError("a storage that is read is not written")

    def close(self) -> None:
        """Nothing to give back."""


def index_of(images: Sequence[Image], more: Sequence[Descriptor] = ()) -> Index:
    """An index of `images` and of further entries."""
    entries = [replace(image.manifest.descriptor, platform=image.platform) for image in images]
    document = parse_document(
        encoded(
            {
                "schemaVersion": 2,
                "mediaType": OCI_INDEX,
                "manifests": [entry.to_json() for entry in (*entries, *more)],
            }
        )
    )
    assert isinstance(document, Index)
    return document


def attestation_of(image: Image, storage: SmallStorage) -> tuple[Descriptor, bytes]:
    """The index entry of an attestation of `image`, and its manifest, which the storage does not have yet."""
    statement = storage.blob(b"{}", "application/vnd.in-toto+json")
    config = storage.blob(b'{"architecture":"unknown","os":"unknown"}', OCI_CONFIG)
    raw = encoded(
        {
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.to_json(),
            "layers": [statement.to_json()],
        }
    )
    entry = Descriptor(
        OCI_MANIFEST,
        digest_of(raw),
        len(raw),
        Platform("unknown", "unknown"),
        {"vnd.docker.reference.type": "attestation-manifest", "vnd.docker.reference.digest": image.manifest.digest},
    )
    return entry, raw
