"""Whatever the bytes: an ElfError or an answer, and bounded reads."""

from __future__ import annotations

import io
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch_platforms import architecture
from polyarch_platforms.elf import contradiction, platform_of, read_elf
from polyarch_platforms.errors import ElfError
from polyarch_platforms.platform import parse
from polyarch_platforms.tiny import tiny_program
from support.elf_files import PT_DYNAMIC, PT_GNU_PROPERTY, PT_INTERP, PT_LOAD, arm_attributes, elf_file, gnu_property

ARM, X86_64, EABI5 = 40, 62, 0x05000000
ATTRIBUTES = arm_attributes((5, b"name"), (6, 10), (28, 1))
WITH_ATTRIBUTES = elf_file(ARM, (PT_LOAD, b"code"), bits=32, flags=EABI5, attributes=ATTRIBUTES)
FULL = elf_file(
    *(X86_64, (PT_LOAD, b"code"), (PT_INTERP, b"/lib/ld.so\0"), (PT_DYNAMIC, bytes(48))),
    (PT_GNU_PROPERTY, gnu_property((0xC0008002, b"\x04\0\0\0"))),
)
SEEDS = (WITH_ATTRIBUTES, FULL, *(tiny_program(one) for one in architecture.load().values()))


def survive(data: bytes) -> None:
    """Reading and judging end with an answer or an ElfError."""
    with suppress(ElfError):
        elf = read_elf(data)
        contradiction(elf, parse("linux/arm64"), 16384)
        platform_of(elf)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "not an ELF file"),
        (b"\x7fELF", "not an ELF file"),
        (b"#!/bin/sh\nexec true\n", "not an ELF file"),
        (b"\x7fELF" + bytes(60), "class 0, byte order 0, version 0"),
        (b"\x7fELF\x03\x01\x01" + bytes(60), "class 3"),
        (b"\x7fELF\x02\x01\x01" + bytes(9), "cut short"),
        (FULL[:63], "cut short"),
        (FULL[:100], "cut short"),
        (FULL[:54] + b"\x01\0" + FULL[56:], "program headers of 1 bytes"),
        (FULL[:56] + b"\xff\xff" + FULL[58:], "65535 program headers of 56 bytes"),
        (elf_file(X86_64, (PT_LOAD, b"code" * 64))[:-1], "cut short"),
        (elf_file(X86_64, (PT_INTERP, b"/lib/ld.so")), "has no end"),
        (elf_file(X86_64, (PT_INTERP, b"\0")), "has 1 bytes"),
        (elf_file(X86_64, (PT_INTERP, b"/" * 4096 + b"\0")), "has 4097 bytes"),
    ],
)
def test_broken_headers(data: bytes, said: str) -> None:
    with pytest.raises(ElfError, match=said):
        read_elf(data)


def test_a_stream_that_ends_before_its_size_is_cut_short() -> None:
    with pytest.raises(ElfError, match="cut short"):
        read_elf(io.BytesIO(FULL[:200]), len(FULL))


@pytest.mark.parametrize(
    "section",
    [
        b"",
        b"A",
        b"B" + ATTRIBUTES[1:],
        ATTRIBUTES[:-1],
        b"A" + b"\xff\xff\xff\xff" + ATTRIBUTES[5:],
        b"A" + bytes(4) + ATTRIBUTES[5:],
        b"A\x08\0\0\0aeabi",
        arm_attributes((6, 1 << 40)),
        ATTRIBUTES.replace(b"aeabi\0\x01", b"aeabi\0\xff"),
        # Scopes that end before their own length does.
        b"A\x0f\0\0\0aeabi\0\x02" + bytes(4),
        b"A\x0f\0\0\0aeabi\0\x01" + bytes(4),
    ],
)
def test_broken_attributes_tell_nothing(section: bytes) -> None:
    elf = read_elf(elf_file(ARM, bits=32, flags=EABI5, attributes=section))
    assert (elf.arm_cpu_arch, elf.hard_float) == (None, None)


def test_sections_beyond_the_end_tell_nothing_because_the_kernel_does_not_read_them() -> None:
    assert read_elf(WITH_ATTRIBUTES).arm_cpu_arch == "v7"
    assert read_elf(WITH_ATTRIBUTES[:-1]).arm_cpu_arch is None


@pytest.mark.parametrize("notes", [b"x", bytes(12)[:-1], b"\xff" * 16, gnu_property((0xC0008002, b"\x04\0\0\0"))[:-8]])
def test_broken_properties_tell_nothing(notes: bytes) -> None:
    assert read_elf(elf_file(X86_64, (PT_GNU_PROPERTY, notes))).x86_isa_level is None


def test_an_alignment_that_is_no_power_of_two_is_passed_over_as_by_the_kernel() -> None:
    assert read_elf(elf_file(X86_64, (PT_LOAD, b"code"), align=0x3000)).max_p_align == 0


class CountingStream(io.BytesIO):
    """Counts the bytes that were asked for."""

    asked = 0

    def read(self, size: int | None = -1, /) -> bytes:
        assert size is not None
        assert size >= 0
        self.asked += size
        return super().read(size)


def test_reads_are_bounded_whatever_the_headers_claim() -> None:
    tables = [(PT_DYNAMIC, (8).to_bytes(8, "little") * (1 << 15))] * 3
    stream = CountingStream(elf_file(X86_64, (PT_LOAD, bytes(1 << 20)), *tables, (PT_GNU_PROPERTY, bytes(1 << 20))))
    read_elf(stream)
    assert stream.asked <= 70_000
    stream = CountingStream(elf_file(ARM, bits=32, flags=EABI5, attributes=bytes(1 << 20)))
    read_elf(stream)
    assert stream.asked <= 1000
    many_sections = bytearray(WITH_ATTRIBUTES + bytes(40 * 60_000))
    many_sections[48:50] = (60_000).to_bytes(2, "little")
    stream = CountingStream(bytes(many_sections))
    read_elf(stream)
    assert stream.asked <= 1000


@given(st.binary(max_size=400))
def test_any_bytes(data: bytes) -> None:
    survive(data)
    survive(b"\x7fELF\x01\x01\x01" + data)
    survive(b"\x7fELF\x02\x02\x01" + data)


@given(st.sampled_from(SEEDS), st.data())
def test_programs_with_bytes_changed(seed: bytes, data: st.DataObject) -> None:
    broken = bytearray(seed)
    for _ in range(data.draw(st.integers(1, 8))):
        broken[data.draw(st.integers(4, len(seed) - 1))] = data.draw(st.integers(0, 255))
    survive(bytes(broken))


@given(st.sampled_from(SEEDS), st.data())
def test_programs_that_are_cut(seed: bytes, data: st.DataObject) -> None:
    survive(seed[: data.draw(st.integers(0, len(seed)))])


@given(st.data())
def test_real_programs_with_header_bytes_changed(foreign_busybox: Callable[[str], Path], data: st.DataObject) -> None:
    original = foreign_busybox(data.draw(st.sampled_from(("armhf", "amd64", "s390x")))).read_bytes()
    broken = bytearray(original)
    for _ in range(data.draw(st.integers(1, 8))):
        # The headers are at the front, the section table and build attributes at the back.
        place = data.draw(st.integers(4, 700) | st.integers(len(original) - 3000, len(original) - 1))
        broken[place] = data.draw(st.integers(0, 255))
    survive(bytes(broken[: data.draw(st.sampled_from((len(original), len(original) // 2)))]))
