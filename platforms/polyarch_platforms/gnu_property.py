"""The GNU properties of x86 programs: which level of the x86-64 instruction set a program needs.

Sources: Linux Extensions to gABI, ".note.gnu.property" (the note's form); System V ABI, AMD64 Architecture Processor
Supplement, "Program Property" (GNU_PROPERTY_X86_ISA_1_NEEDED and its bits) and gABI, "Note Section".
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

MAX_NOTES = 64 * 1024

_NT_GNU_PROPERTY_TYPE_0 = 5
_X86_ISA_1_NEEDED = 0xC0008002
# Bit 0 is x86-64-baseline, then v2, v3 and v4.
_LEVELS = 4


def x86_isa_level(notes: bytes, bits: Literal[32, 64]) -> int | None:
    """The notes of a PT_GNU_PROPERTY segment (little endian, as all of x86) -> the level needed, 1 to 4.

    None where the program says nothing of it or names no level that is known. Raises ValueError for broken notes.
    """
    unit = bits // 8
    for kind, name, descriptor in _notes(notes, unit):
        if kind == _NT_GNU_PROPERTY_TYPE_0 and name == b"GNU\0":
            for property_type, data in _properties(descriptor, unit):
                if property_type == _X86_ISA_1_NEEDED and len(data) == 4:
                    needed = int.from_bytes(data, "little") & (1 << _LEVELS) - 1
                    return needed.bit_length() or None
    return None


def _notes(notes: bytes, unit: int) -> Iterator[tuple[int, bytes, bytes]]:
    """(type, name, descriptor) of each note; name and descriptor are padded to the unit of the class."""
    place = 0
    while place < len(notes):
        name_size, size = _u32(notes, place), _u32(notes, place + 4)
        start = place + 12
        descriptor = _aligned(start + name_size, unit)
        if descriptor + size > len(notes):
            raise ValueError("a note is longer than its segment")
        yield _u32(notes, place + 8), notes[start : start + name_size], notes[descriptor : descriptor + size]
        place = _aligned(descriptor + size, unit)


def _properties(descriptor: bytes, unit: int) -> Iterator[tuple[int, bytes]]:
    place = 0
    while place < len(descriptor):
        size = _u32(descriptor, place + 4)
        if place + 8 + size > len(descriptor):
            raise ValueError("a GNU property is longer than its note")
        yield _u32(descriptor, place), descriptor[place + 8 : place + 8 + size]
        place = _aligned(place + 8 + size, unit)


def _aligned(place: int, unit: int) -> int:
    return -(-place // unit) * unit


def _u32(data: bytes, place: int) -> int:
    if place + 4 > len(data):
        raise ValueError("the notes are cut short")
    return int.from_bytes(data[place : place + 4], "little")
