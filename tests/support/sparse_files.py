"""Files with holes, in the four ways that GNU tar writes them (its manual, "Storing Sparse Files")."""

from __future__ import annotations

from collections.abc import Sequence

from support.layers import Item, file

FORMS = ("old", "0.0", "0.1", "1.0")


def sparse_file(name: str | bytes, size: int, pieces: Sequence[tuple[int, bytes]], form: str) -> Item:
    """A file of `size` bytes, zeros but for the `pieces`, each with its place. GNU tar ends with one of no bytes where
    a hole is last; Go takes a file without any for one without holes.
    """
    if not pieces or pieces[-1][0] + len(pieces[-1][1]) < size:
        pieces = [*pieces, (size, b"")]
    stored = b"".join(data for _, data in pieces)
    pairs = [(at, len(data)) for at, data in pieces]
    real = name if isinstance(name, bytes) else name.encode()
    if form == "old":
        raw = {386: _old_pairs(pairs[:4]), 482: bytes([len(pairs) > 4]), 483: b"%011o\0" % size, 257: b"ustar  \0"}
        return Item(name, kind=b"S", data=stored, raw=raw, after=_old_blocks(pairs[4:]))
    pax = {"GNU.sparse.size": b"%d" % size, "GNU.sparse.numblocks": b"%d" % len(pairs)}
    if form == "0.0":
        more = [each for at, length in pairs for each in (("offset", at), ("numbytes", length))]
        return file(name, stored, pax=pax, more=[(f"GNU.sparse.{key}", b"%d" % number) for key, number in more])
    if form == "0.1":
        pax |= {"GNU.sparse.name": real, "GNU.sparse.map": b",".join(b"%d,%d" % pair for pair in pairs)}
        return file(b"GNUSparseFile.1/x", stored, pax=pax)
    lines = b"%d\n" % len(pairs) + b"".join(b"%d\n%d\n" % pair for pair in pairs)
    pax = {"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0", "GNU.sparse.name": real}
    return file(
        b"GNUSparseFile.1/x",
        lines + bytes(-len(lines) % 512) + stored,
        pax={**pax, "GNU.sparse.realsize": b"%d" % size},
    )


def _old_pairs(pairs: Sequence[tuple[int, int]]) -> bytes:
    return b"".join(b"%011o\0%011o\0" % pair for pair in pairs)


def _old_blocks(pairs: Sequence[tuple[int, int]]) -> bytes:
    blocks = b""
    while pairs:
        block, pairs = pairs[:21], pairs[21:]
        blocks += _old_pairs(block).ljust(504, b"\0") + bytes([bool(pairs)]) + bytes(7)
    return blocks
