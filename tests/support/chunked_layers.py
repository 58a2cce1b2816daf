"""Layers with a table of contents: zstd:chunked as polyarch writes it, eStargz by its specification, and their images.

eStargz: containerd/stargz-snapshotter, docs/estargz.md. Nothing of Debian's makes such layers.
"""

from __future__ import annotations

import contextlib
import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from polyarch.contract import BlobStream, Descriptor, Manifest, Reference
from polyarch.oci.digest import digest_of
from polyarch.oci.document import parse_document
from polyarch.oci.media_types import OCI_CONFIG, OCI_LAYER_GZIP, OCI_MANIFEST
from polyarch.unpack.chunked import pack_chunked
from polyarch.unpack.stream import LayerStream
from polyarch_platforms.platform import parse
from support.memory_registry import MadeImage, MemoryRegistry, chunks_of, encoded

Files = Mapping[str, bytes]
MTIME = 1_704_067_200


@dataclass(frozen=True, slots=True)
class MadeLayer:
    """A layer's blob, what a manifest says of it, and the archive in it."""

    blob: bytes
    descriptor: Descriptor
    tar: bytes


def archive(files: Files, times: Mapping[str, int] | None = None) -> bytes:
    """A tar archive of the files, in their order."""
    made = io.BytesIO()
    with tarfile.TarFile(fileobj=made, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, data in files.items():
            tar.addfile(_info(name, data, times), io.BytesIO(data))
    return made.getvalue()


def _info(name: str, data: bytes, times: Mapping[str, int] | None) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.size, info.mtime = len(data), (times or {}).get(name, MTIME)
    return info


def zstd_chunked(files: Files, times: Mapping[str, int] | None = None) -> MadeLayer:
    """The layer as zstd:chunked."""
    return packed(archive(files, times))


def packed(tar: bytes) -> MadeLayer:
    """An archive as zstd:chunked."""
    out = io.BytesIO()
    made = pack_chunked(LayerStream(io.BytesIO(tar), "layer", digest_of(tar)), out)
    media_type = "application/vnd.oci.image.layer.v1.tar+zstd"
    return MadeLayer(out.getvalue(), Descriptor(media_type, made.digest, made.size, annotations=made.annotations), tar)


def estargz(files: Files, times: Mapping[str, int] | None = None, *, level: int = 6, chunk: int = 1 << 16) -> MadeLayer:
    """The layer as eStargz, files cut into chunks of a fixed size."""
    blob, entries, plain = bytearray(), [], bytearray()

    def member(data: bytes) -> None:
        compressor = zlib.compressobj(level, wbits=31)
        blob.extend(compressor.compress(data) + compressor.flush())
        plain.extend(data)

    pending = b""
    for name, data in files.items():
        pending += _info(name, data, times).tobuf(tarfile.PAX_FORMAT)
        entry: dict[str, Any] = {"name": name, "type": "reg", "mode": 0o100644, "uid": 0, "gid": 0}
        entry |= {"modtime": f"{(times or {}).get(name, MTIME)}", "NumLink": 0}
        if data:
            entry |= {"size": len(data), "digest": digest_of(data)}
        for start in range(0, len(data), chunk):
            member(pending)
            part = pending = data[start : start + chunk]
            last = start + chunk >= len(data)
            place = {"offset": len(blob), "chunkDigest": digest_of(part)}
            place |= {"chunkOffset": start} if start else {}
            place |= {} if last else {"chunkSize": len(part)}
            entries.append({**(entry if not start else {"name": name, "type": "chunk"}), **place})
        if not data:
            entries.append(entry)
        pending += bytes(-len(data) % 512)
    member(pending)
    toc = json.dumps({"version": 1, "entries": entries}).encode()
    offset = len(blob)
    table = archive({"stargz.index.json": toc})
    member(table)
    blob += struct.pack("<2sBBIBB", b"\x1f\x8b", 8, 4, 0, 0, 255) + b"\x1a\0SG\x16\0"
    blob += b"%016xSTARGZ" % offset + b"\x01\0\0\xff\xff" + bytes(8)
    annotations = {"containerd.io/snapshot/stargz/toc.digest": digest_of(toc)}
    descriptor = Descriptor(OCI_LAYER_GZIP, digest_of(bytes(blob)), len(blob), annotations=annotations)
    return MadeLayer(bytes(blob), descriptor, bytes(plain))


def image_of(*layers: MadeLayer) -> MadeImage:
    """An image of these layers."""
    config = encoded(
        {
            "os": "linux",
            "architecture": "amd64",
            "rootfs": {"type": "layers", "diff_ids": [digest_of(layer.tar) for layer in layers]},
        }
    )
    document = parse_document(
        encoded(
            {
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "config": Descriptor(OCI_CONFIG, digest_of(config), len(config)).to_json(),
                "layers": [layer.descriptor.to_json() for layer in layers],
            }
        )
    )
    assert isinstance(document, Manifest)
    blobs = {digest_of(config): config} | {layer.descriptor.digest: layer.blob for layer in layers}
    return MadeImage(document, parse("linux/amd64"), blobs)


RangeFault = Callable[[bytes, int, int], "BlobStream | None"]


@dataclass
class RangeRegistry(MemoryRegistry):
    """A MemoryRegistry that gives parts, too: `parts` are (digest, offset, size), as they were asked for."""

    parts: list[tuple[str, int, int]] = field(default_factory=list)
    range_faults: list[RangeFault] = field(default_factory=list)

    @contextlib.contextmanager
    def open_range(self, reference: Reference, blob: Descriptor, offset: int, size: int) -> Iterator[BlobStream | None]:
        """The part, unless a fault is due; the last fault stays."""
        with self._lock:
            self.parts.append((blob.digest, offset, size))
            fault = self.range_faults[0] if self.range_faults else None
            if len(self.range_faults) > 1:
                self.range_faults.pop(0)
        data = next(image.blobs[blob.digest] for image in self.images if blob.digest in image.blobs)
        yield fault(data, offset, size) if fault else honest_part(data, offset, size)

    def travelled(self, digest: str) -> int:
        """Bytes of parts of a blob that were asked for."""
        return sum(size for asked, _, size in self.parts if asked == digest)


def honest_part(data: bytes, offset: int, size: int) -> BlobStream:
    """No fault."""
    return BlobStream(offset, chunks_of(data[offset : offset + size]))
