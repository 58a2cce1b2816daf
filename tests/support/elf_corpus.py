"""Small ELF files that lie: `python -m support.elf_corpus` (in tests) writes them to platforms/elf_corpus."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

from support.elf_files import PT_DYNAMIC, PT_GNU_PROPERTY, PT_INTERP, PT_LOAD, arm_attributes, elf_file, gnu_property

FOLDER = Path(__file__).parent.parent / "platforms" / "elf_corpus"

_ARM, _X86_64, _EABI5 = 40, 62, 0x05000000
_HUGE, _MOST = 1 << 63, (1 << 64) - 1
_PHOFF, _SHOFF, _PHENTSIZE, _PHNUM = 32, 40, 54, 56
_WHOLE = elf_file(
    *(_X86_64, (PT_LOAD, b"code"), (PT_INTERP, b"/lib/ld.so\0"), (PT_DYNAMIC, bytes(48))),
    (PT_GNU_PROPERTY, gnu_property((0xC0008002, b"\x04\0\0\0"))),
)
_LIBRARY = elf_file(_X86_64, (PT_DYNAMIC, struct.pack("<4Q", 1, 1, 0, 0)), kind=3)
_V7 = elf_file(
    _ARM, (PT_LOAD, b"code"), bits=32, flags=_EABI5, attributes=arm_attributes((5, b"name"), (6, 10), (28, 1))
)


def corpus() -> Iterator[tuple[str, bytes]]:
    """(name, file) of each: absurd counts, places beyond the end, tables over one another, and broken notes."""
    yield "whole", _WHOLE
    yield "whole-arm", _V7
    for name, place, layout, values in (
        ("count-of-program-headers", _PHNUM, "<H", (1, 5, 0x491, 0xFFFE, 0xFFFF)),
        ("size-of-a-program-header", _PHENTSIZE, "<H", (0, 1, 32, 57, 0xFFFF)),
        ("place-of-program-headers", _PHOFF, "<Q", (0, 16, 63, len(_WHOLE), _HUGE, _MOST, _MOST - 55)),
    ):
        for value in values:
            yield f"{name}-{value:x}", _patched(_WHOLE, place, layout, value)
    for index, kind in enumerate(("load", "interp", "dynamic", "property")):
        entry = 64 + 56 * index
        for field, offset, values in (
            ("offset", 8, (0, 64, len(_WHOLE) - 1, _HUGE, _MOST)),
            ("size", 32, (0, 1, 4096, 1 << 20, _HUGE, _MOST)),
            ("align", 48, (0, 1, 3, _HUGE, _MOST)),
        ):
            for value in values:
                yield f"{kind}-{field}-{value:x}", _patched(_WHOLE, entry + offset, "<Q", value)
    for field, offset in (("offset", 8), ("size", 32)):
        for value in (0, 1, 16, 33, 1 << 20, _HUGE, _MOST):
            yield f"library-{field}-{value:x}", _patched(_LIBRARY, 64 + offset, "<Q", value)
    # ELF32: e_shoff at 32, e_shentsize at 46, e_shnum at 48.
    for name, place, layout, values in (
        ("place-of-sections", 32, "<I", (1, 20, 52, len(_V7), 0x7FFFFFFF, 0xFFFFFFFF)),
        ("size-of-a-section", 46, "<H", (0, 39, 41, 0xFFFF)),
        ("count-of-sections", 48, "<H", (0, 3, 4096, 4097, 0xFFFF)),
    ):
        for value in values:
            yield f"arm-{name}-{value:x}", _patched(_V7, place, layout, value)
    for name, section in _broken_attributes():
        yield f"attributes-{name}", elf_file(_ARM, bits=32, flags=_EABI5, attributes=section)
    for name, notes in _broken_notes():
        yield f"notes-{name}", elf_file(_X86_64, (PT_GNU_PROPERTY, notes))


def _patched(data: bytes, place: int, layout: str, value: int) -> bytes:
    changed = bytearray(data)
    struct.pack_into(layout, changed, place, value)
    return bytes(changed)


def _broken_attributes() -> Iterator[tuple[str, bytes]]:
    good = arm_attributes((6, 10))
    yield "length-0", b"A" + bytes(4) + good[5:]
    yield "length-4", b"A\x04\0\0\0" + good[5:]
    yield "length-max", b"A\xff\xff\xff\xff" + good[5:]
    yield "vendor-without-end", b"A\x0a\0\0\0aeabi!"
    yield "number-without-end", b"A\x20\0\0\0aeabi\0\x01\x16\0\0\0\x06" + b"\xff" * 16
    yield "scopes-without-number", b"A\xf2\x03\0\0aeabi\0" + b"\x01\x05\0\0\0" * 200
    yield "many-vendors", b"A" + b"\x06\0\0\0x\0" * 300
    yield "two-answers", arm_attributes((6, 4), (6, 10))


def _broken_notes() -> Iterator[tuple[str, bytes]]:
    yield "name-max", struct.pack("<III", 0xFFFFFFFF, 4, 5) + b"GNU\0abcd"
    yield "descriptor-max", struct.pack("<III", 4, 0xFFFFFFFF, 5) + b"GNU\0abcd"
    yield "property-max", struct.pack("<III", 4, 8, 5) + b"GNU\0" + struct.pack("<II", 0xC0008002, 0xFFFFFFFF)
    yield "empty-notes", struct.pack("<III", 0, 0, 5) * 60
    yield "empty-properties", struct.pack("<III", 4, 480, 5) + b"GNU\0" + struct.pack("<II", 1, 0) * 60


def write() -> None:
    """Writes all of them afresh."""
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.glob("*.elf"):
        old.unlink()
    for name, data in corpus():
        (FOLDER / f"{name}.elf").write_bytes(data)


if __name__ == "__main__":
    write()
