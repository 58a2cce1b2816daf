"""The table of devices, derived a second time: by what each chip is known to be, not by the features that it names.

Nothing of the code under test is used. The chips' versions and levels: Arm's Technical Reference Manuals, GCC's manual
("x86 Options": which -march has the instructions of x86-64-v2, v3, v4) and the names of IBM's processors. What a kernel
runs of 32 bits: Linux, arch/arm64/Kconfig (COMPAT, ARM64_4K_PAGES) and arch/x86/Kconfig (IA32_EMULATION).
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from support.device_rows import ROWS, Row

FACTS = Path(__file__).parent / "facts"

# Part -> the `arm` variant under a 32-bit kernel; 64-bit cores: the `arm64` variants, best first.
ARM = {
    "0x131": ("v5", ""),
    "0xb76": ("v6", ""),
    **dict.fromkeys(("0xc07", "0xc08", "0xc09", "0xc0f"), ("v7", "")),
    **dict.fromkeys(("0xd03", "0xd04", "0xd07", "0xd08", "0xd09", "0x003", "0x663"), ("v7", "v8")),
    "0x0af": ("", "v8.1 v8"),
    **dict.fromkeys(("0xd05", "0xd0b", "0xd0c", "0xd42", "0xd4b", "0xd4c"), ("v7", "v8.2 v8.1 v8")),
    **dict.fromkeys(("0x001", "0xd01"), ("", "v8.2 v8.1 v8")),
    **dict.fromkeys(("0xd40", "0x022", "0x023", "0x024", "0x025"), ("", "v8.4 v8.3 v8.2 v8.1 v8")),
    **dict.fromkeys(("0xac3", "0xac4", "0x032"), ("", "v8.6 v8.5 v8.4 v8.3 v8.2 v8.1 v8")),
    **dict.fromkeys(("0xd49", "0xd4f"), ("", "v9 v8.5 v8.4 v8.3 v8.2 v8.1 v8")),
}
# Fujitsu's, Cavium's, Apple's and Arm's newer server cores have no AArch32 at all.
ONLY_64 = {"0x001", "0x0af", "0x022", "0x023", "0x024", "0x025", "0x032", "0xd4f"}
X86 = {
    "v1": "E-450|Opteron.* 6136|Core.TM.2 Quad",
    "v2": "Z8350|J4105|M 560 ",
    "v3": r"E5-2680 v3|N100$|EPYC 7301|5950X|1360P|E3-1280 v3",
    "v4": "Gold 6132|EPYC 9654",
}


def second_reading(text: str) -> tuple[list[str], bool | None]:
    """The vector, and whether programs of 32 bits run beside those of 64."""
    machine = re.findall(r"^uname Linux \S+ (\S+)$", text, re.M)[0]
    emulated = re.search(r"^exe .*/qemu-", text, re.M) is not None
    wide = re.findall(r"^elf-user 7f 45 4c 46 (0[12])", text, re.M)[0] == "02"
    page = re.search(
        r"^auxv .*\b00000006 (?:00000000 )?0000(1000|4000)|^auxv .*\b00000006 00000000 (00010000)", text, re.M
    )
    four_k = None if page is None else page[1] == "1000"
    if machine.startswith("armv"):
        return arm(text, machine), None
    if machine == "aarch64":
        return aarch64(text, wide, four_k, emulated)
    if machine == "x86_64":
        return x86_64(text, wide)
    if machine in ("i586", "i686"):
        return ["386"], None
    if machine == "ppc64le":
        name = "" if emulated else re.findall(r"^cpu cpu\s*: POWER(\d+)", text, re.M)[0]
        return ["ppc64le/power10", "ppc64le/power9", "ppc64le/power8", "ppc64le"][
            {"10": 0, "9": 1, "8": 2, "": 3}[name] :
        ], None
    if machine == "riscv64":
        isa = re.findall(r"^cpu isa\s*: rv64(\S+)", text, re.M)[0]
        better = {"zba", "zbb", "zbs", "zkt", "zicboz"} <= set(isa.split("_"))
        return ["riscv64/rva22u64"] * better + ["riscv64/rva20u64", "riscv64"], None
    return [{"loongarch64": "loong64"}.get(machine, machine)], None


def parts(text: str) -> set[str]:
    return set(re.findall(r"^cpu CPU part\s*: (\S+)", text, re.M))


def arm(text: str, machine: str) -> list[str]:
    """A 32-bit kernel: the chip's variant and those below it."""
    known = {ARM[part][0] for part in parts(text)} or {machine[3:5]}
    best = min(known)
    return [f"arm/{one}" for one in ("v7", "v6", "v5") if one <= best]


def aarch64(text: str, wide: bool, four_k: bool | None, emulated: bool) -> tuple[list[str], bool | None]:
    held = ["v8"]
    if not emulated:
        # A big.LITTLE chip can what all its cores can; a hypervisor that hides pointer authentication leaves v8.2.
        held = min((ARM[part][1].split() for part in parts(text)), key=len)
        held = [one for one in held if one <= "v8.2" or "paca" in text]
    own = ["arm64" if one == "v8" else f"arm64/{one}" for one in held]
    both = not wide or ("linux32 armv8l" in text if "linux32" in text else None)
    if wide and (emulated or four_k is False or parts(text) & ONLY_64):
        both = False
    elif wide and four_k is None:
        both = False if "linux32 refused" in text else None
    below = ["arm/v8", "arm/v7", "arm/v6", "arm/v5"]
    if not both:
        return own, both
    return (own + below if wide else below + own), both


def x86_64(text: str, wide: bool) -> tuple[list[str], bool | None]:
    level = next(level for level, names in X86.items() if re.search(rf"^cpu model name\s*: .*(?:{names})", text, re.M))
    if "-Microsoft" in text:
        level = "v1"  # WSL 1 names fewer instructions than the chip has.
    own = [f"amd64/{one}" for one in ("v4", "v3", "v2") if one <= level] + ["amd64"]
    if not wide:
        return ["386", *own], True
    return ([*own, "386"], True) if "config CONFIG_IA32_EMULATION=y" in text else (own, None)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_table_of_devices_says_what_the_chips_are(row: Row) -> None:
    native, both = second_reading((FACTS / f"{row.name}.txt").read_text())
    assert row.native.split() == native
    assert row.compat32 is both
    assert row.platform == (native[0] if native[0].startswith("arm/") else native[0].partition("/")[0])
