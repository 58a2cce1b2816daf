"""ELF files made to order, for what no real program on the machine shows."""

from __future__ import annotations

import struct
from typing import Literal

PT_LOAD, PT_DYNAMIC, PT_INTERP, PT_GNU_PROPERTY = 1, 2, 3, 0x6474E553
Segment = tuple[int, bytes]


def elf_file(
    machine: int,
    *segments: Segment,
    bits: Literal[32, 64] = 64,
    byte_order: Literal["little", "big"] = "little",
    flags: int = 0,
    os_abi: int = 0,
    kind: int = 2,
    align: int = 0x1000,
    attributes: bytes | None = None,
) -> bytes:
    """An ELF file with the segments (type, bytes), each of them aligned to `align`, and perhaps `.ARM.attributes`."""
    order = "<" if byte_order == "little" else ">"
    header_size, entry_size, section_size = (64, 56, 64) if bits == 64 else (52, 32, 40)
    place = header_size + entry_size * len(segments)
    table, contents = b"", b""
    for segment, data in segments:
        size, at = len(data), place + len(contents)
        if bits == 64:
            table += struct.pack(order + "IIQQQQQQ", segment, 4, at, at, at, size, size, align)
        else:
            table += struct.pack(order + "IIIIIIII", segment, at, at, at, size, size, 4, align)
        contents += data
    sections, section_count, section_offset = b"", 0, 0
    if attributes is not None:
        at = place + len(contents)
        section = struct.pack(order + ("IIIIIIIIII" if bits == 32 else "IIQQQQIIQQ"), *(0,) * 10)
        kinds = struct.pack(
            order + ("IIIIIIIIII" if bits == 32 else "IIQQQQIIQQ"), 0, 0x70000003, 0, 0, at, len(attributes), *(0,) * 4
        )
        contents += attributes
        sections, section_count, section_offset = section + kinds, 2, at + len(attributes)
    ident = b"\x7fELF" + bytes((bits // 32, 1 if byte_order == "little" else 2, 1, os_abi)) + bytes(8)
    header = struct.pack(
        order + ("HHIQQQIHHHHHH" if bits == 64 else "HHIIIIIHHHHHH"),
        *(kind, machine, 1, 0, header_size if segments else 0, section_offset, flags, header_size, entry_size),
        *(len(segments), section_size, section_count, 0),
    )
    return ident + header + table + contents + sections


def arm_attributes(*attributes: tuple[int, int | bytes], vendor: bytes = b"aeabi", byte_order: str = "little") -> bytes:
    """A section `.ARM.attributes` with the attributes (tag, number or text) of the whole file (IHI 0045, 2.2)."""
    body = b"".join(
        uleb128(tag) + (uleb128(value) if isinstance(value, int) else value + b"\0") for tag, value in attributes
    )
    order: Literal["little", "big"] = "little" if byte_order == "little" else "big"
    file_scope = b"\x01" + (len(body) + 5).to_bytes(4, order) + body
    subsection = vendor + b"\0" + file_scope
    return b"A" + (len(subsection) + 4).to_bytes(4, order) + subsection


def uleb128(number: int) -> bytes:
    parts = [number & 0x7F]
    while number := number >> 7:
        parts.append(number & 0x7F)
    return bytes(part | 0x80 for part in parts[:-1]) + bytes(parts[-1:])


def gnu_property(*properties: tuple[int, bytes], bits: Literal[32, 64] = 64) -> bytes:
    """A note NT_GNU_PROPERTY_TYPE_0 with the properties (type, data)."""
    unit = bits // 8
    descriptor = b""
    for kind, data in properties:
        descriptor += struct.pack("<II", kind, len(data)) + data + bytes(-len(data) % unit)
    return struct.pack("<III", 4, len(descriptor), 5) + b"GNU\0" + descriptor
