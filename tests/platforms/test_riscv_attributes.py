"""What RISC-V programs were built for, held against what is promised: Debian's libraries, and sections made here."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch_platforms import riscv_attributes
from polyarch_platforms.elf import contradiction, platform_of, read_elf
from polyarch_platforms.platform import parse
from support.elf_files import PT_LOAD, arm_attributes, elf_file

RISCV, PT_RISCV_ATTRIBUTES, STACK_ALIGN, ARCH = 243, 0x70000003, 4, 5
DEBIAN = Path("/usr/riscv64-linux-gnu/lib")
BASE = "rv64i2p1_m2p0_a2p1_f2p2_d2p2_c2p0_zicsr2p0_zifencei2p0_zmmul1p0"
RVA22 = f"{BASE}_zicbom1p0_zicbop1p0_zicboz1p0_zihintpause2p0_zfhmin1p0_zba1p0_zbb1p0_zbs1p0_zkt1p0"
# What rustc 1.97 (LLVM 22) writes for riscv64a23-unknown-linux-gnu.
RVA23 = (
    "rv64i2p1_m2p0_a2p1_f2p2_d2p2_c2p0_b1p0_v1p0_zic64b1p0_zicbom1p0_zicbop1p0_zicboz1p0_ziccamoa1p0_ziccif1p0_"
    "zicclsm1p0_ziccrse1p0_zicntr2p0_zicond1p0_zicsr2p0_zihintntl1p0_zihintpause2p0_zihpm2p0_zimop1p0_zmmul1p0_"
    "za128rs1p0_za64rs1p0_zaamo1p0_zalrsc1p0_zawrs1p0_zfa1p0_zfhmin1p0_zca1p0_zcb1p0_zcd1p0_zcmop1p0_zba1p0_zbb1p0_"
    "zbs1p0_zkt1p0_zvbb1p0_zve32f1p0_zve32x1p0_zve64d1p0_zve64f1p0_zve64x1p0_zvfhmin1p0_zvkb1p0_zvkt1p0_zvl128b1p0_"
    "zvl32b1p0_zvl64b1p0_supm1p0"
)


def section(arch: str, vendor: bytes = b"riscv") -> bytes:
    # The form is ARM's; an even tag is a number.
    return arm_attributes((STACK_ALIGN, 16), (ARCH, arch.encode()), vendor=vendor)


def program(attributes: bytes) -> bytes:
    return elf_file(RISCV, (PT_LOAD, b"code"), (PT_RISCV_ATTRIBUTES, attributes))


@pytest.mark.parametrize("name", ["libc.so.6", "ld-linux-riscv64-lp64d.so.1", "libm.so.6", "libpthread.so.0"])
def test_debians_programs_are_for_every_riscv64(name: str) -> None:
    elf = read_elf((DEBIAN / name).read_bytes())
    assert {"i", "m", "a", "f", "d", "c", "zicsr", "zifencei"} <= set(elf.riscv_extensions)
    assert str(platform_of(elf)) == "linux/riscv64"
    assert contradiction(elf, parse("riscv64")) is None


@pytest.mark.parametrize(
    ("arch", "needs", "fits", "refused"),
    [
        (BASE, "riscv64", "riscv64", ""),
        # One extension more may belong to a part that is chosen at run time.
        (f"{BASE}_v1p0_zvl128b1p0", "riscv64", "riscv64", ""),
        (f"{BASE}_zba1p0_zbb1p0_zbs1p0", "riscv64", "riscv64", ""),
        (RVA22, "riscv64/rva22u64", "riscv64/rva22u64", "riscv64"),
        (RVA23, "riscv64/rva23u64", "riscv64/rva23u64", "riscv64/rva22u64"),
        (RVA23, "riscv64/rva23u64", "riscv64/rva23u64", "riscv64/rva20u64"),
        ("rv64gc", "riscv64", "riscv64", ""),
        ("rv32imac", "riscv64", "riscv64", ""),
        ("", "riscv64", "riscv64", ""),
    ],
)
def test_a_whole_profile_is_a_need(arch: str, needs: str, fits: str, refused: str) -> None:
    elf = read_elf(program(section(arch)))
    assert str(platform_of(elf)) == f"linux/{needs}"
    assert contradiction(elf, parse(fits)) is None
    if refused:
        assert contradiction(elf, parse(refused)) == f"linux/{refused} is promised, but the program needs linux/{needs}"


def test_names_that_end_in_digits_keep_them() -> None:
    words = riscv_attributes.extensions(section("rv64i2p1_zic64b1p0_zve64d1p0_za64rs1p0_zba"))
    assert words == ("i", "zic64b", "zve64d", "za64rs", "zba")
    assert riscv_attributes.extensions(section("rv64gc_zba")) == ("i", "m", "a", "f", "d", "c", "zba")


def test_another_vendors_attributes_do_not_count() -> None:
    assert riscv_attributes.extensions(section(RVA23, vendor=b"other")) == ()


def test_a_broken_note_is_no_note() -> None:
    whole = section(RVA23)
    for broken in (b"B" + whole[1:], whole[:-9], whole[:3], b""):
        assert read_elf(program(broken)).riscv_extensions == ()


@given(st.binary(max_size=120) | st.binary(max_size=80).map(lambda more: section(BASE)[:40] + more))
def test_no_bytes_break_it(attributes: bytes) -> None:
    assert isinstance(read_elf(program(attributes)).riscv_extensions, tuple)
