"""The build attributes of 32-bit ARM programs: for which version of the architecture a program was built.

Source: Addenda to, and Errata in, the ABI for the Arm Architecture (IHI 0045), "Build Attributes": 2.2 (the section's
form), 2.3 (how a value is written, by its tag) and 2.5 (Tag_CPU_arch, Tag_CPU_arch_profile, Tag_ABI_VFP_args).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from polyarch_platforms.lazy_dataclass import dataclass

MAX_SECTION = 64 * 1024

_FILE, _CPU_RAW_NAME, _CPU_NAME, _CPU_ARCH, _CPU_ARCH_PROFILE, _VFP_ARGS, _COMPATIBILITY = 1, 4, 5, 6, 7, 28, 32
_MICROCONTROLLER = ord("M")

# Tag_CPU_arch in words. What only microcontrollers and real-time cores have (v6-M, v7E-M, v8-R …) is left out.
_BEFORE_V8 = ("pre-v4", "v4", "v4t", "v5t", "v5te", "v5tej", "v6", "v6kz", "v6t2", "v6k", "v7")
_VERSIONS = dict(enumerate(_BEFORE_V8)) | {14: "v8", 18: "v8.1", 19: "v8.2", 20: "v8.3", 22: "v9"}


@dataclass(frozen=True, slots=True)
class ArmAttributes:
    """`cpu_arch` is Tag_CPU_arch in words (`v5te`), `hard_float` whether floats are passed in VFP registers."""

    cpu_arch: str | None = None
    hard_float: bool | None = None


def parse(section: bytes, byte_order: Literal["little", "big"]) -> ArmAttributes:
    """The section `.ARM.attributes` -> what it says of the whole file. Raises ValueError where it is broken."""
    if section[:1] != b"A":
        raise ValueError("not version A of the build attributes")
    numbers, _ = file_values(section, byte_order, b"aeabi", _is_text, also_text=_COMPATIBILITY)
    version = None if numbers.get(_CPU_ARCH_PROFILE) == _MICROCONTROLLER else _VERSIONS.get(numbers.get(_CPU_ARCH, -1))
    # 0: integer registers, 1: VFP registers; 2 (a private way) and 3 (fits both) prove neither.
    return ArmAttributes(version, {0: False, 1: True}.get(numbers.get(_VFP_ARGS, -1)))


def _is_text(tag: int) -> bool:
    """Numbers below 32 but for two names; above, odd tags are texts."""
    return tag in (_CPU_RAW_NAME, _CPU_NAME) or (tag > _COMPATIBILITY and tag % 2 == 1)


def file_values(
    section: bytes,
    byte_order: Literal["little", "big"],
    of: bytes,
    is_text: Callable[[int], bool],
    also_text: int | None = None,
) -> tuple[dict[int, int], dict[int, bytes]]:
    """tag -> number and tag -> text, of the attributes that the vendor `of` gives for the whole file.

    `is_text` tells what form a tag's value has; `also_text` is the tag of a number and a text. ValueError where broken.
    """
    numbers: dict[int, int] = {}
    texts: dict[int, bytes] = {}
    place = 1
    while place < len(section):
        length = _length(section, place, place, byte_order)
        vendor, named = _text(section[place + 4 : place + length], 0)
        start = place + 4 + named
        while vendor == of and start < place + length:
            tag, after = _uleb128(section, start)
            size = _length(section, after, start, byte_order)
            if tag == _FILE:
                body, at = section[after + 4 : start + size], 0
                while at < len(body):
                    one, at = _uleb128(body, at)
                    if not is_text(one):
                        numbers[one], at = _uleb128(body, at)
                    if is_text(one) or one == also_text:
                        texts[one], at = _text(body, at)
            start += size
        place += length
    return numbers, texts


def _length(section: bytes, place: int, start: int, byte_order: Literal["little", "big"]) -> int:
    """The 32-bit length at `place` of a part that begins at `start` and must lie inside the section."""
    length = int.from_bytes(section[place : place + 4], byte_order)
    if place + 4 > len(section) or start + length > len(section) or start + length < place + 4:
        raise ValueError("a length of the build attributes points outside the section")
    return length


def _text(section: bytes, place: int) -> tuple[bytes, int]:
    end = section.find(b"\0", place)
    if end < 0:
        raise ValueError("a text of the build attributes has no end")
    return section[place:end], end + 1


def _uleb128(section: bytes, place: int) -> tuple[int, int]:
    """An unsigned LEB128 number of at most 32 bits and the place behind it."""
    number = 0
    for shift in range(0, 35, 7):
        if place >= len(section):
            break
        byte = section[place]
        place += 1
        number |= (byte & 0x7F) << shift
        if byte < 0x80:
            return number, place
    raise ValueError("a number of the build attributes has no end")
