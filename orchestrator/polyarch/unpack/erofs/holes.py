"""Files with holes, in chunks."""

from __future__ import annotations

from polyarch.unpack.erofs import format as form
from polyarch.unpack.erofs.content import Chunks, Unfit
from polyarch.unpack.sparse import Segments

MAX_CHUNKS = 1 << 20
"""Of a layer: 4 MiB of metadata."""


def chunks(size: int, offset: int, segments: Segments, most: int) -> Chunks:
    """The chunks of a file of `size` bytes whose `segments` lie behind each other in the archive, from `offset` on.

    They are as large as all segments allow. Raises Unfit where segments do not begin and end with blocks, or where
    that makes more than `most` chunks.
    """
    ends = [start + length for start, length in segments if start + length != size]
    bits = form.BLOCK_BITS + form.MAX_CHUNK_BITS
    for edge in (*(start for start, _ in segments), *ends):
        if edge:
            bits = min(bits, (edge & -edge).bit_length() - 1)
    if bits < form.BLOCK_BITS or -(-size >> bits) > most:
        raise Unfit(f"a file of {size} bytes with {len(segments)} pieces between holes")
    places: list[int | None] = [None] * -(-size >> bits)
    for start, length in segments:
        for inside in range(0, length, 1 << bits):
            places[start + inside >> bits] = offset + inside
        offset += length
    return Chunks(bits, tuple(places))
