"""Images made of a few bytes, and a registry in memory that can be told how to fail."""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

from polyarch.contract import (
    BlobStream,
    Descriptor,
    Document,
    Image,
    Index,
    Manifest,
    NotFoundError,
    Platform,
    Reference,
    UnreachableError,
)
from polyarch.oci.config import parse_config
from polyarch.oci.digest import digest_of
from polyarch.oci.document import parse_document
from polyarch.oci.media_types import (
    DOCKER_CONFIG,
    DOCKER_LAYER_GZIP,
    DOCKER_MANIFEST,
    OCI_CONFIG,
    OCI_INDEX,
    OCI_LAYER_GZIP,
    OCI_MANIFEST,
)
from polyarch.reference import parse_reference
from polyarch_platforms.platform import parse, to_oci

Chunks = Iterator[bytes | memoryview]
Fault = Callable[[bytes, int], BlobStream]
"""A blob's bytes and the offset asked for -> what comes instead."""

CHUNK = 1000


def encoded(value: object) -> bytes:
    """JSON as another tool may write it."""
    return json.dumps(value, indent=3).encode()


@dataclass(frozen=True, slots=True)
class MadeImage:
    """A manifest and the bytes of all its blobs."""

    manifest: Manifest
    platform: Platform
    blobs: dict[str, bytes]

    def stored_as(self, name: str, root: Document | None = None, platform: Platform | None = None) -> Image:
        """What a storage is given at the end of a pull."""
        config = parse_config(self.blobs[self.manifest.config.digest])
        return Image(parse_reference(name), root or self.manifest, self.manifest, config, platform or self.platform)


def made_image(platform: str, *layers: bytes, docker: bool = False, command: Sequence[str] = ()) -> MadeImage:
    """An image for `platform` that starts `command`; layers are taken as they are."""
    parsed = parse(platform)
    diff_ids = [digest_of(b"tar of " + layer) for layer in layers]
    run = {"Cmd": list(command)} if command else {}
    config = encoded({**to_oci(parsed), "rootfs": {"type": "layers", "diff_ids": diff_ids}, "config": run})
    layer_type = DOCKER_LAYER_GZIP if docker else OCI_LAYER_GZIP
    document = parse_document(
        encoded(
            {
                "schemaVersion": 2,
                "mediaType": DOCKER_MANIFEST if docker else OCI_MANIFEST,
                "config": _descriptor(config, DOCKER_CONFIG if docker else OCI_CONFIG).to_json(),
                "layers": [_descriptor(layer, layer_type).to_json() for layer in layers],
            }
        )
    )
    assert isinstance(document, Manifest)
    return MadeImage(document, parsed, {digest_of(data): data for data in (config, *layers)})


def _descriptor(data: bytes, media_type: str) -> Descriptor:
    return Descriptor(media_type, digest_of(data), len(data))


def index_document(entries: Sequence[Descriptor]) -> Index:
    """An OCI index of the entries."""
    raw = encoded({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry.to_json() for entry in entries]})
    document = parse_document(raw)
    assert isinstance(document, Index)
    return document


@dataclass
class MemoryRegistry:
    """Serves the blobs of images in chunks of CHUNK bytes; `requests` are (digest, offset) in the order they came."""

    images: Sequence[MadeImage]
    requests: list[tuple[str, int]] = field(default_factory=list)
    faults: dict[str, list[Fault]] = field(default_factory=dict)
    most_at_once: int = 0
    _open: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def fail(self, digest: str, *faults: Fault) -> None:
        """The next requests for this blob get these faults in turn."""
        self.faults.setdefault(digest, []).extend(faults)

    def head(self, reference: Reference) -> Descriptor | None:
        """Not asked by what is tested with this."""
        raise AssertionError(reference)

    def get(self, reference: Reference) -> Document:
        """Not asked by what is tested with this."""
        raise AssertionError(reference)

    @contextlib.contextmanager
    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> Iterator[BlobStream]:
        """The bytes from `offset` on, unless a fault is due."""
        with self._lock:
            self.requests.append((blob.digest, offset))
            due = self.faults.get(blob.digest)
            fault = due.pop(0) if due else honest
            self._open += 1
            self.most_at_once = max(self.most_at_once, self._open)
        try:
            data = next((image.blobs[blob.digest] for image in self.images if blob.digest in image.blobs), None)
            if data is None:
                raise NotFoundError(f"{reference}: blob {blob.digest} is unknown")
            yield fault(data, offset)
        finally:
            with self._lock:
                self._open -= 1

    def close(self) -> None:
        """Nothing to give back."""


def chunks_of(data: bytes) -> Chunks:
    """The bytes in chunks, in one buffer that is used again and again, as the contract allows."""
    buffer = bytearray(CHUNK)
    for start in range(0, len(data), CHUNK):
        part = data[start : start + CHUNK]
        buffer[: len(part)] = part
        yield memoryview(buffer)[: len(part)]


def honest(data: bytes, offset: int) -> BlobStream:
    """No fault."""
    return BlobStream(offset, chunks_of(data[offset:]))


def cut_after(size: int) -> Fault:
    """The connection breaks after `size` bytes."""

    def chunks(data: bytes) -> Chunks:
        yield from chunks_of(data[:size])
        raise UnreachableError("the connection broke")

    return lambda data, offset: BlobStream(offset, chunks(data[offset:]))


def end_after(size: int) -> Fault:
    """The stream ends after `size` bytes, as if that were all."""
    return lambda data, offset: BlobStream(offset, chunks_of(data[offset : offset + size]))


def ignore_offset(data: bytes, offset: int) -> BlobStream:
    """Everything, from the first byte, whatever was asked for."""
    return BlobStream(0, chunks_of(data))


def other_bytes(data: bytes, offset: int) -> BlobStream:
    """As many bytes as promised, the last one turned over."""
    return BlobStream(offset, chunks_of((data[:-1] + bytes([data[-1] ^ 0xFF]))[offset:]))


def more_bytes(extra: int) -> Fault:
    """More bytes than promised."""
    return lambda data, offset: BlobStream(offset, chunks_of(data[offset:] + bytes(extra)))


def refuse(error: Exception) -> Fault:
    """The request itself fails."""

    def fault(data: bytes, offset: int) -> BlobStream:
        raise error

    return fault
