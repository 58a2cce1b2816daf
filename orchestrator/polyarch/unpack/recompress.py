"""A layer compressed in another way: its diff ID, and so what it holds, stays; its digest is another one."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator
from typing import BinaryIO, Literal, TypeAlias, get_args

from polyarch.oci.chunked import annotated
from polyarch.oci.compression import zstd_compressor
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.media_types import DOCKER_LAYER_GZIP, OCI_LAYER, OCI_LAYER_GZIP
from polyarch.unpack.chunked import pack_chunked
from polyarch.unpack.limits import USUAL, Limits
from polyarch.unpack.packing import LayerPacker
from polyarch.unpack.stream import LayerStream

Compression: TypeAlias = Literal["gzip", "zstd", "zstd:chunked"]
COMPRESSIONS: tuple[Compression, ...] = get_args(Compression)

OCI_LAYER_ZSTD = f"{OCI_LAYER}+zstd"

_PART = 1 << 18


def is_so(layer: Descriptor, compression: Compression) -> bool:
    """True if a layer is compressed in this way, as its descriptor says."""
    if compression == "gzip":
        return layer.media_type in (OCI_LAYER_GZIP, DOCKER_LAYER_GZIP)
    if compression == "zstd":
        return layer.media_type == OCI_LAYER_ZSTD
    table = annotated(layer)
    return layer.media_type == OCI_LAYER_ZSTD and table is not None and table.form == "zstd:chunked"


def recompress(
    source: BinaryIO,
    where: str,
    diff_id: Digest,
    compression: Compression,
    out: BinaryIO,
    *,
    limits: Limits = USUAL,
) -> Descriptor:
    """Write the layer in `source` into `out`, and hold it against its diff ID; the descriptor of what was written.

    Raises IntegrityError, NotChunked, HostError where nothing here compresses so, OSError (disk full).
    """
    with contextlib.closing(LayerStream(source, where, diff_id, limits.of_layer())) as stream:
        if compression == "zstd:chunked":
            chunked = pack_chunked(stream, out)
            return Descriptor(OCI_LAYER_ZSTD, chunked.digest, chunked.size, annotations=chunked.annotations)
        if compression == "gzip":
            with contextlib.closing(LayerPacker(out)) as packer:
                for part in _parts(stream):
                    packer.write(part)
                packed = packer.finish()
            return Descriptor(OCI_LAYER_GZIP, packed.digest, packed.size)
        return _zstd(stream, out)


def _zstd(stream: LayerStream, out: BinaryIO) -> Descriptor:
    compressor, whole, size = zstd_compressor(), hashlib.sha256(), 0

    def put(data: bytes) -> int:
        whole.update(data)
        out.write(data)
        return len(data)

    for part in _parts(stream):
        size += put(compressor.compress(part))
    size += put(compressor.flush())
    out.flush()
    return Descriptor(OCI_LAYER_ZSTD, f"sha256:{whole.hexdigest()}", size)


def _parts(stream: LayerStream) -> Iterator[bytes]:
    """All of it; raises IntegrityError in the end where it is another layer."""
    while not stream.at_end():
        yield bytes(stream.part(_PART))
    stream.finish()
