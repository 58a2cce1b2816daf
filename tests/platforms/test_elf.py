"""What programs really are: Debian's busybox for real architectures, and files made to order for the rest."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyarch.testing.debian_busybox import debian_busybox
from polyarch_platforms import architecture
from polyarch_platforms.elf import contradiction, platform_of, read_elf
from polyarch_platforms.errors import ElfError
from polyarch_platforms.platform import Platform, parse
from polyarch_platforms.tiny import tiny_program
from support.elf_files import PT_DYNAMIC, PT_GNU_PROPERTY, PT_INTERP, PT_LOAD, arm_attributes, elf_file, gnu_property

ARM, X86_64, AARCH64 = 40, 62, 183
EABI5 = 0x05000000
CPU_ARCH, PROFILE, VFP_ARGS, CPU_NAME, COMPATIBILITY, ALSO_COMPATIBLE = 6, 7, 28, 5, 32, 65


@pytest.mark.parametrize(
    ("debian", "platform", "facts"),
    [
        ("amd64", "linux/amd64", {"bits": 64, "os_abi": 3, "max_p_align": 0x1000, "x86_isa_level": 1}),
        ("arm64", "linux/arm64", {"bits": 64, "machine": 183, "max_p_align": 0x10000, "hard_float": None}),
        ("armhf", "linux/arm/v7", {"bits": 32, "arm_cpu_arch": "v7", "hard_float": True, "flags": 0x05000400}),
        ("armel", "linux/arm/v5", {"arm_cpu_arch": "v5te", "hard_float": False, "flags": 0x05000200}),
        ("i386", "linux/386", {"bits": 32, "machine": 3, "arm_cpu_arch": None}),
        ("s390x", "linux/s390x", {"byte_order": "big", "machine": 22}),
        ("ppc64el", "linux/ppc64le", {"byte_order": "little", "flags": 2, "max_p_align": 0x10000}),
    ],
)
def test_debians_busybox(
    foreign_busybox: Callable[[str], Path], debian: str, platform: str, facts: dict[str, Any]
) -> None:
    with foreign_busybox(debian).open("rb") as file:
        elf = read_elf(file)
    assert str(platform_of(elf)) == platform
    assert elf.static
    assert elf.interpreter is None
    assert elf.type == 2
    assert {name: getattr(elf, name) for name in facts} == facts
    assert contradiction(elf, parse(platform)) is None


def test_debians_busybox_for_mips64el(test_cache: Path) -> None:
    with debian_busybox(("mips64el",), test_cache)["mips64el"].open("rb") as file:
        elf = read_elf(file)
    assert platform_of(elf) == Platform("linux", "mips64le")


@pytest.mark.parametrize("name", architecture.load())
def test_every_architecture_is_told_from_its_program(name: str) -> None:
    program = tiny_program(architecture.load()[name])
    elf = read_elf(program)
    assert platform_of(elf) == Platform("linux", name)
    assert elf.static
    assert contradiction(elf, Platform("linux", name), page_size=64 * 1024) is None


def test_a_dynamic_program_names_its_interpreter() -> None:
    needed = (1).to_bytes(8, "little") + bytes(8) + bytes(16)
    elf = read_elf(elf_file(X86_64, (PT_LOAD, b"code"), (PT_INTERP, b"/lib/ld.so\0"), (PT_DYNAMIC, needed)))
    assert elf.interpreter == "/lib/ld.so"
    assert not elf.static


def test_a_library_is_not_static_and_a_static_pie_is() -> None:
    relocations = (7).to_bytes(8, "little") + bytes(8)  # DT_RELA
    end = bytes(16)
    needed = (1).to_bytes(8, "little") + bytes(8)
    assert read_elf(elf_file(X86_64, (PT_DYNAMIC, relocations + end), kind=3)).static
    assert not read_elf(elf_file(X86_64, (PT_DYNAMIC, relocations + needed + end), kind=3)).static
    # What stands behind the end of the table is no entry.
    assert read_elf(elf_file(X86_64, (PT_DYNAMIC, end + needed), kind=3)).static


def test_the_machines_own_python_is_read_from_a_stream(tmp_path: Path) -> None:
    with Path("/proc/self/exe").open("rb") as file:
        elf = read_elf(file)
        size = file.seek(0, io.SEEK_END)
        assert read_elf(file, size) == elf
    assert elf.interpreter is not None
    assert Path(elf.interpreter).exists()


@pytest.mark.parametrize(
    ("value", "words", "variant"),
    [
        (1, "v4", "v5"),
        (2, "v4t", "v5"),
        (3, "v5t", "v5"),
        (4, "v5te", "v5"),
        (5, "v5tej", "v5"),
        (6, "v6", "v6"),
        (7, "v6kz", "v6"),
        (8, "v6t2", "v6"),
        (9, "v6k", "v6"),
        (10, "v7", "v7"),
        (11, None, ""),  # v6-M
        (14, "v8", "v8"),
        (15, None, ""),  # v8-R
        (20, "v8.3", "v8"),
        (22, "v9", "v8"),
        (99, None, ""),
    ],
)
def test_the_arm_version(value: int, words: str | None, variant: str) -> None:
    section = arm_attributes((CPU_NAME, b"a name"), (CPU_ARCH, value))
    elf = read_elf(elf_file(ARM, (PT_LOAD, b"code"), bits=32, flags=EABI5, attributes=section))
    assert elf.arm_cpu_arch == words
    assert platform_of(elf).variant == variant


def test_other_attributes_are_passed_over_by_their_form() -> None:
    section = arm_attributes(
        *((CPU_NAME, b"\x06\x0a"), (CPU_ARCH, 6), (70, 300), (ALSO_COMPATIBLE, b"\x01\x06\x04"), (VFP_ARGS, 1))
    )
    elf = read_elf(elf_file(ARM, bits=32, flags=EABI5, attributes=section))
    assert (elf.arm_cpu_arch, elf.hard_float) == ("v6", True)


def test_tag_compatibility_is_a_number_and_a_text() -> None:
    body = bytes((COMPATIBILITY, 1)) + b"gnu\0" + bytes((CPU_ARCH, 10))
    scope = b"\x01" + (len(body) + 5).to_bytes(4, "little") + body
    subsection = b"aeabi\0" + scope
    section = b"A" + (len(subsection) + 4).to_bytes(4, "little") + subsection
    assert read_elf(elf_file(ARM, bits=32, flags=EABI5, attributes=section)).arm_cpu_arch == "v7"


def test_other_vendors_and_sections_attributes_do_not_count() -> None:
    foreign = arm_attributes((CPU_ARCH, 10), vendor=b"acme")
    own = arm_attributes((CPU_ARCH, 4))
    for section in (foreign + own[1:], own + foreign[1:]):
        assert read_elf(elf_file(ARM, bits=32, flags=EABI5, attributes=section)).arm_cpu_arch == "v5te"
    section_scope = own.replace(b"aeabi\0\x01", b"aeabi\0\x02")
    assert read_elf(elf_file(ARM, bits=32, flags=EABI5, attributes=section_scope)).arm_cpu_arch is None


def test_big_endian_attributes_are_read_and_the_program_is_not_linux_arm() -> None:
    section = arm_attributes((CPU_ARCH, 4), byte_order="big")
    elf = read_elf(elf_file(ARM, bits=32, byte_order="big", flags=EABI5, attributes=section))
    assert elf.arm_cpu_arch == "v5te"
    with pytest.raises(ElfError, match="e_machine 40, 32 bits, big endian"):
        platform_of(elf)


def test_a_microcontrollers_program_proves_no_variant() -> None:
    section = arm_attributes((CPU_ARCH, 10), (PROFILE, ord("M")))
    assert read_elf(elf_file(ARM, bits=32, flags=EABI5, attributes=section)).arm_cpu_arch is None


@pytest.mark.parametrize(
    ("flags", "vfp_args", "hard"),
    [(0x400, 0, True), (0x200, 1, False), (0, 1, True), (0, 0, False), (0, 2, None), (0, 3, None), (0, None, None)],
)
def test_how_arm_passes_floats(flags: int, vfp_args: int | None, hard: bool | None) -> None:
    attributes = None if vfp_args is None else arm_attributes((VFP_ARGS, vfp_args))
    assert read_elf(elf_file(ARM, bits=32, flags=EABI5 | flags, attributes=attributes)).hard_float is hard


@pytest.mark.parametrize(
    ("needed", "level", "platform"),
    [
        (b"\x01\0\0\0", 1, "linux/amd64"),
        (b"\x03\0\0\0", 2, "linux/amd64/v2"),
        (b"\x04\0\0\0", 3, "linux/amd64/v3"),
        (b"\x0f\0\0\0", 4, "linux/amd64/v4"),
        (b"\x10\0\0\0", None, "linux/amd64"),  # a level that is not known
        (b"\0\0\0\0", None, "linux/amd64"),
        (b"\x0f\0", None, "linux/amd64"),
    ],
)
def test_the_x86_level(needed: bytes, level: int | None, platform: str) -> None:
    notes = gnu_property((0xC0000002, b"\x03\0\0\0"), (0xC0008002, needed))
    elf = read_elf(elf_file(X86_64, (PT_GNU_PROPERTY, notes)))
    assert elf.x86_isa_level == level
    assert str(platform_of(elf)) == platform


def test_notes_of_other_names_do_not_count() -> None:
    notes = gnu_property((0xC0008002, b"\x07\0\0\0")).replace(b"GNU\0", b"XYZ\0")
    assert read_elf(elf_file(X86_64, (PT_GNU_PROPERTY, notes))).x86_isa_level is None


def test_the_x86_level_stands_behind_other_notes_and_in_32_bits() -> None:
    other = (4).to_bytes(4, "little") + (3).to_bytes(4, "little") + (1).to_bytes(4, "little") + b"GNU\0abc\0"
    notes = other + gnu_property((0xC0008002, b"\x07\0\0\0"), bits=32)
    assert read_elf(elf_file(3, (PT_GNU_PROPERTY, notes), bits=32)).x86_isa_level == 3


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (elf_file(X86_64, bits=32), "e_machine 62, 32 bits"),  # x32
        (elf_file(8, bits=32, flags=0x20), "e_machine 8, 32 bits"),  # MIPS n32
        (elf_file(8, bits=32), "e_machine 8, 32 bits"),  # MIPS o32
        (elf_file(8, byte_order="big"), "e_machine 8, 64 bits, big endian"),
        (elf_file(21, byte_order="big"), "e_machine 21, 64 bits, big endian"),  # the old ppc64
        (elf_file(22, bits=32, byte_order="big"), "e_machine 22, 32 bits"),  # s390
        (elf_file(ARM, bits=32, flags=0x02000000), "e_flags 0x2000000"),  # the old ABI
        (elf_file(43, byte_order="big"), "e_machine 43"),
        (elf_file(X86_64, os_abi=9), "amd64, but not for Linux: EI_OSABI is 9"),
    ],
)
def test_machines_and_systems_that_are_not_known(program: bytes, said: str) -> None:
    elf = read_elf(program)
    with pytest.raises(ElfError, match=said):
        platform_of(elf)
    told = contradiction(elf, parse("linux/arm64"))
    assert told is not None
    assert told.startswith("linux/arm64 is promised, but the program is for ")
    assert said in told


def _arm(cpu_arch: int) -> bytes:
    return elf_file(ARM, (PT_LOAD, b"code"), bits=32, flags=EABI5, attributes=arm_attributes((CPU_ARCH, cpu_arch)))


def _amd64(level: int) -> bytes:
    needed = (1 << level - 1).to_bytes(4, "little")
    return elf_file(X86_64, (PT_LOAD, b"code"), (PT_GNU_PROPERTY, gnu_property((0xC0008002, needed))))


@pytest.mark.parametrize(
    ("program", "promised", "page_size", "said"),
    [
        (_arm(10), "arm/v7", None, None),
        (_arm(10), "arm/v8", None, None),
        (_arm(10), "arm/v6", None, "linux/arm/v6 is promised, but the program needs linux/arm/v7"),
        (_arm(9), "arm/v5", None, "linux/arm/v5 is promised, but the program needs linux/arm/v6"),
        (_arm(4), "arm/v5", None, None),
        (_arm(14), "arm/v7", None, "linux/arm/v7 is promised, but the program needs linux/arm/v8"),
        (elf_file(ARM, bits=32, flags=EABI5), "arm/v5", None, None),
        (_arm(10), "arm64", None, "linux/arm64 is promised, but the program is 32-bit code for linux/arm"),
        (elf_file(3, bits=32), "amd64", None, "linux/amd64 is promised, but the program is 32-bit code for linux/386"),
        (elf_file(X86_64), "386", None, "linux/386 is promised, but the program is 64-bit code for linux/amd64"),
        (elf_file(X86_64), "windows/amd64", None, "windows/amd64 is promised, but the program is 64-bit"),
        (_amd64(1), "amd64", None, None),
        (_amd64(2), "amd64", None, "linux/amd64 is promised, but the program needs linux/amd64/v2"),
        (_amd64(3), "amd64/v2", None, "linux/amd64/v2 is promised, but the program needs linux/amd64/v3"),
        (_amd64(3), "amd64/v3", None, None),
        (_amd64(3), "amd64/v4", None, None),
        (elf_file(AARCH64, (PT_LOAD, b"code")), "arm64", 4096, None),
        (elf_file(AARCH64, (PT_LOAD, b"code")), "arm64/v8.2", 4096, None),
        (elf_file(AARCH64, (PT_LOAD, b"x"), align=0x1000), "arm64", 16384, "to 4K, but the kernel's pages are 16K"),
        (elf_file(AARCH64, (PT_LOAD, b"x"), align=16), "arm64", 4096, None),
        (elf_file(AARCH64, (PT_LOAD, b"x"), align=16), "arm64", 16384, "to 4K, but the kernel's pages are 16K"),
        (elf_file(AARCH64, (PT_LOAD, b"x"), align=0x10000), "arm64", 16384, None),
        (elf_file(AARCH64), "arm64", 16384, None),
    ],
)  # fmt: skip
def test_contradictions(program: bytes, promised: str, page_size: int | None, said: str | None) -> None:
    told = contradiction(read_elf(program), parse(promised), page_size)
    if said is None:
        assert told is None
    else:
        assert told is not None
        assert said in told


def test_an_arm_promise_without_variant_is_v7() -> None:
    assert contradiction(read_elf(_arm(10)), Platform("linux", "arm")) is None
    assert contradiction(read_elf(_arm(14)), Platform("linux", "arm")) is not None
