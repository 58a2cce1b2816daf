"""Files with holes in a tar archive: where their pieces belong.

Forms: GNU tar manual, "Storing Sparse Files": the old GNU format (type `S`, a map in the header and in blocks behind
it) and the PAX formats 0.0, 0.1 (a map in the extended header) and 1.0 (a map in front of the content). image-spec
1.1.1, layer.md, says that layers should have none; tar programs make them all the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

Segments: TypeAlias = tuple[tuple[int, int], ...]
"""The pieces of a file that are stored, in order: where each begins, and how long it is. What is between is zeros."""

MAX_SEGMENTS = 1 << 16
"""Of one file."""

_KEY = "GNU.sparse."
_OLD_IN_HEADER = 4
_OLD_IN_BLOCK = 21
_OLD_PAIR = 24
_MAX_DIGITS = 20
_BLOCK = 512
_MAX_BLOCKS = 2 * MAX_SEGMENTS * (_MAX_DIGITS + 1) // _BLOCK


class Unsound(Exception):
    """No sound map of a file with holes; says what is wrong."""


Number: TypeAlias = Callable[[bytes, str], int]


def is_sparse(extended: Mapping[str, bytes]) -> bool:
    """Whether an extended header makes its file one with holes."""
    return any(key.startswith(_KEY) for key in extended)


def old_map(header: bytes, next_block: Callable[[], bytes], number: Number) -> tuple[int, list[int]]:
    """The size and the map of an entry of type `S`: the header's part (GNU tar manual, "Basic Tar Format",
    `struct oldgnu_header`), and those blocks behind it that it announces.
    """
    numbers = _pairs(header[386 : 386 + _OLD_IN_HEADER * _OLD_PAIR], number)
    more = header[482]
    while more:
        block = next_block()
        numbers += _pairs(block[: _OLD_IN_BLOCK * _OLD_PAIR], number)
        if len(numbers) > 2 * MAX_SEGMENTS:
            raise Unsound(f"a map of more than {MAX_SEGMENTS} pieces")
        more = block[504]
    return number(header[483:495], "real size"), numbers


def _pairs(raw: bytes, number: Number) -> list[int]:
    numbers = []
    for at in range(0, len(raw), _OLD_PAIR):
        if raw[at] == 0:
            break
        numbers += [number(raw[at : at + 12], "map"), number(raw[at + 12 : at + 24], "map")]
    return numbers


def pax_map(extended: Mapping[str, bytes], next_block: Callable[[], bytes]) -> tuple[int, list[int], int]:
    """The size and the map of an entry with such an extended header, and how many bytes of its content the map took."""
    version = tuple(extended.get(f"{_KEY}{part}", b"0") for part in ("major", "minor"))
    if version == (b"1", b"0"):
        numbers, taken = _leading_map(next_block)
        return _size(extended, "realsize"), numbers, taken
    if version not in ((b"0", b"0"), (b"0", b"1")):
        raise Unsound("a map of an unknown version")
    text = extended.get(_KEY + "map", b"")
    words = text.split(b",") if text else []
    return _size(extended, "size"), [_decimal(word) for word in words], 0


def _leading_map(next_block: Callable[[], bytes]) -> tuple[list[int], int]:
    """Lines of decimal numbers, how many pairs and then those, padded to a whole block; and the bytes of all this."""
    blocks = [next_block()]
    count = _decimal(blocks[0].partition(b"\n")[0])
    if count > MAX_SEGMENTS:
        raise Unsound(f"a map of {count} pieces; at most {MAX_SEGMENTS} are read")
    lines = blocks[0].count(b"\n")
    while lines <= 2 * count:
        if len(blocks) > _MAX_BLOCKS:
            raise Unsound("a map that does not end")
        blocks.append(next_block())
        lines += blocks[-1].count(b"\n")
    text = b"".join(blocks)
    return [_decimal(word) for word in text.split(b"\n")[1 : 1 + 2 * count]], len(text)


def collected(records: Sequence[tuple[str, bytes]]) -> bytes:
    """The map of format 0.0, one record a number, as 0.1 has it in one."""
    wanted = ("offset", "numbytes")
    if any(key != _KEY + wanted[number % 2] for number, (key, _) in enumerate(records)):
        raise Unsound("a map in disorder")
    return b",".join(value for _, value in records)


def is_number_of_map(key: str) -> bool:
    """Whether a record is of a map of format 0.0: there are as many of one key as there are pieces."""
    return key in (_KEY + "offset", _KEY + "numbytes")


def segments_of(numbers: Sequence[int], size: int, stored: int) -> Segments:
    """The pieces of a file of `size` bytes, of which `stored` are in the archive. Raises Unsound.

    Pieces of no bytes, by which GNU tar tells the size, are left out. Programs disagree on where the next piece begins
    behind one that ends within a block (GNU tar: with the next block; Go, Python: at once), so that is refused.
    """
    if len(numbers) % 2 or len(numbers) > 2 * MAX_SEGMENTS:
        raise Unsound("a map of too many pieces, or of half of one")
    found: list[tuple[int, int]] = []
    end = 0
    for start, length in zip(numbers[::2], numbers[1::2], strict=True):
        if not end <= start or length < 0 or start + length > size:
            raise Unsound("a map with a piece in the wrong place")
        if length:
            if found and found[-1][1] % _BLOCK:
                raise Unsound("a map with a piece that ends within a block and is not the last")
            found.append((start, length))
        end = start + length
    if sum(length for _, length in found) != stored:
        raise Unsound("a map of other pieces than are there")
    return tuple(found)


def _size(extended: Mapping[str, bytes], key: str) -> int:
    text = extended.get(_KEY + key)
    if text is None:
        raise Unsound("a file with holes that does not tell its size")
    return _decimal(text)


def _decimal(text: bytes) -> int:
    if not (text.isdigit() and len(text) < _MAX_DIGITS):
        raise Unsound("a map that is not of numbers")
    return int(text)
