"""What machines run natively, by facts: devices that are not at hand, each row with the source of its facts."""

from __future__ import annotations

import pytest

from polyarch_platforms.host import detect, parse_facts
from support.probe_answers import A76, ARM64, ARMV6, ARMV7, CONFIG, QEMU_I386, answer, core, tree

ARM7 = "arm/v7 arm/v6 arm/v5"
ARM = f"arm/v8 {ARM7}"
V82 = "arm64/v8.2 arm64/v8.1 arm64"


def _native(text: str) -> str:
    return " ".join(str(one).removeprefix("linux/") for one in detect(parse_facts(text)).native)


PI_5 = tree("Raspberry Pi 5 Model B Rev 1.0", "raspberrypi,5-model-b", "brcm,bcm2712")
A53 = core("0xd03", ARM64)
# AWS Graviton Technical Guide and lscpu of such instances; kernels hide ssbs (erratum 3194386).
V1 = f"{A76} jscvt fcma sha3 sm3 sm4 sha512 sve asimdfhm dit uscat ilrcpc flagm paca pacg dcpodp svei8mm i8mm bf16 rng"
V2 = f"{V1} sb sve2 sveaes svepmull svebitperm flagm2 frint dgh bti"


@pytest.mark.parametrize(
    ("text", "native"),
    [
        pytest.param(
            answer(
                *core("0xd0b", A76), *PI_5, "linux32 armv8l", uname="Linux 6.6 aarch64", userland="arm64", page=16384
            ),
            V82,
            id="Pi 5, its default kernel (16K pages): the CPU has AArch32, the pages exclude it",
        ),
        pytest.param(
            answer(*core("0xd0b", A76), *PI_5, "linux32 armv8l", uname="Linux 6.6 aarch64", userland="arm64"),
            f"{V82} {ARM}",
            id="Pi 5, 4K pages",
        ),
        pytest.param(
            answer(*core("0xd0b", A76), *PI_5, uname="Linux 6.6 aarch64", userland="arm"),
            f"{ARM} {V82}",
            id="Pi 5, 32-bit userland",
        ),
        pytest.param(answer(*A53, uname="Linux 6.1 aarch64", userland="arm64"), "arm64", id="AArch32 not asked"),
        pytest.param(
            answer(*A53, "linux32 refused", uname="Linux 6.1 aarch64", userland="arm64"), "arm64", id="AArch32 refused"
        ),
        pytest.param(
            answer(*A53, "linux32 armv8l", uname="Linux 6.1 aarch64"), "arm64", id="no od: page size and ELF unknown"
        ),
        pytest.param(
            answer(*A53, "linux32 aarch64", "aarch32-el0 0-3", uname="Linux 6.1 aarch64", userland="arm64"),
            "arm64",
            id="the kernel takes PER_LINUX32, but is made without CONFIG_COMPAT",
        ),
        pytest.param(
            answer(*core("0xd4f", ARM64), "linux32 armv8l", uname="Linux 6.1 aarch64", userland="arm64"),
            f"arm64 {ARM}",
            id="the table denies AArch32, the kernel has it: the kernel knows",
        ),
        pytest.param(
            answer(*A53, uname="Linux 6.1 armv8l", userland="arm"),
            f"{ARM} arm64",
            id="a 32-bit container under linux32: armv8l is said by 64-bit kernels only",
        ),
        pytest.param(
            answer(*core("0xd46", ARM64), "aarch32-el0 4-7", uname="Linux 6.1 aarch64", userland="arm64"),
            f"arm64 {ARM}",
            id="asymmetric AArch32 (Documentation/arch/arm64/asymmetric-32bit.rst)",
        ),
        pytest.param(
            answer(*core("0x023", V2, "0x61"), uname="Linux 6.1 aarch64", userland="arm64"),
            "arm64/v9 arm64/v8.5 arm64/v8.4 arm64/v8.3 arm64/v8.2 arm64/v8.1 arm64",
            id="a core that has no AArch32",
        ),
        pytest.param(
            answer(*core("0xd40", V1), uname="Linux 6.1 aarch64", userland="arm64"),
            "arm64/v8.4 arm64/v8.3 arm64/v8.2 arm64/v8.1 arm64",
            id="Graviton3",
        ),
        pytest.param(
            answer(*core("0xd4f", V2), "linux32 refused", uname="Linux 6.8 aarch64", userland="arm64"),
            "arm64/v9 arm64/v8.5 arm64/v8.4 arm64/v8.3 arm64/v8.2 arm64/v8.1 arm64",
            id="Graviton4",
        ),
        pytest.param(
            answer(*core("0xd05", A76), f"cpu Features : {ARM64}", "cpu CPU part : 0xd0b", uname="Linux 6 aarch64"),
            "arm64",
            id="big.LITTLE: only what all cores have",
        ),
        pytest.param(
            answer(*core("0xb76", ARMV6), "cpu Revision\t: 9000c1", "cpu Hardware\t: BCM2835", uname="Linux 6 armv6l"),
            "arm/v6 arm/v5",
            id="Zero W",
        ),
        pytest.param(
            answer("cpu Revision\t: 000e", "cpu Hardware\t: BCM2708", uname="Linux 3.18 armv7l"),
            "arm/v6 arm/v5",
            id="Pi 1, kernel says armv7l, no CPU part: the board decides",
        ),
        pytest.param(
            answer(*core("0xb76", ARMV6), uname="Linux 4 armv7l"), "arm/v6 arm/v5", id="armv7l, but the part is ARM1176"
        ),
        pytest.param(answer(*core("0xd03", ARMV7), uname="Linux 6 armv7l", userland="arm"), ARM7, id="Pi 3, 32-bit"),
        pytest.param(
            answer(*core("0xc09", "half thumb fastmult edsp"), uname="Linux 4 armv7l"), "arm/v5", id="v7 without VFP"
        ),
        pytest.param(
            answer(*core("0xc05", "half thumb fastmult vfp edsp"), uname="Linux 4 armv7l"),
            "arm/v6 arm/v5",
            id="v7 with VFPv2 only",
        ),
        pytest.param(
            answer(*core("0x131", "swp half thumb fastmult edsp", "0x56"), uname="Linux 6 armv5tel"),
            "arm/v5",
            id="SheevaPlug",
        ),
        pytest.param(answer(uname="Linux 6 armv6l"), "arm/v6 arm/v5", id="nothing but uname: armv6l"),
        # POWER: Linux, arch/powerpc/include/uapi/asm/cputable.h.
        pytest.param(
            answer(uname="Linux 6 ppc64le", userland="ppc64le", page=65536, hwcap2=0xAE000000),
            "ppc64le/power8 ppc64le",
            id="POWER8",
        ),
        pytest.param(
            answer(uname="Linux 6 ppc64le", userland="ppc64le", hwcap2=0xAEE00000),
            "ppc64le/power9 ppc64le/power8 ppc64le",
            id="POWER9",
        ),
        pytest.param(
            answer(uname="Linux 6 ppc64le", userland="ppc64le", hwcap2=0xAEE40000),
            "ppc64le/power10 ppc64le/power9 ppc64le/power8 ppc64le",
            id="POWER10",
        ),
        pytest.param(answer(uname="Linux 6 ppc64le"), "ppc64le", id="POWER, unknown"),
        # VisionFive 2: its /proc/cpuinfo.
        pytest.param(
            answer("cpu isa\t\t: rv64imafdc_zicntr_zicsr_zifencei_zihpm_zba_zbb", uname="Linux 6 riscv64"),
            "riscv64/rva20u64 riscv64",
            id="VisionFive 2",
        ),
        pytest.param(
            answer("cpu isa : rv64imac", uname="Linux 6 riscv64"), "riscv64", id="RISC-V without floating point"
        ),
        pytest.param(
            answer(
                "cpu isa : rv64imafdc_zicbom_zicboz_zihintpause_zfhmin_zba_zbb_zbs_zkt",
                "cpu isa : rv64imafdc",
                uname="Linux 6 riscv64",
            ),
            "riscv64/rva20u64 riscv64",
            id="RISC-V with unequal harts",
        ),
        pytest.param(
            answer("cpu isa : rv64gcv_zicbom_zicboz_zihintpause_zfhmin_zba_zbb_zbs_zkt", uname="Linux 6 riscv64"),
            "riscv64/rva22u64 riscv64/rva20u64 riscv64",
            id="RVA22",
        ),
        pytest.param(answer("cpu isa : nonsense", uname="Linux 6 riscv64"), "riscv64", id="RISC-V, unreadable"),
        pytest.param(answer(uname="Linux 6 s390x", userland="s390x"), "s390x", id="s390x"),
        pytest.param(answer(uname="Linux 6 loongarch64", userland="loong64"), "loong64", id="loong64"),
        pytest.param(answer(uname="Linux 6 mips64", userland="mips64le"), "mips64le", id="mips64, little endian"),
    ],
)
def test_what_a_machine_runs(text: str, native: str) -> None:
    assert _native(text) == native


V1_FLAGS = "fpu cx8 cmov mmx fxsr sse sse2 syscall lm"
V2_FLAGS = f"{V1_FLAGS} pni ssse3 cx16 sse4_1 sse4_2 popcnt lahf_lm"
V3_FLAGS = f"{V2_FLAGS} fma movbe xsave avx f16c abm bmi1 avx2 bmi2"
V4_FLAGS = f"{V3_FLAGS} avx512f avx512dq avx512cd avx512bw avx512vl"
OFF = "config CONFIG_IA32_EMULATION_DEFAULT_DISABLED=y"


@pytest.mark.parametrize(
    ("flags", "lines", "userland", "native"),
    [
        (V1_FLAGS, (), "amd64", "amd64"),
        (V2_FLAGS, (), "amd64", "amd64/v2 amd64"),
        (V3_FLAGS, (), "amd64", "amd64/v3 amd64/v2 amd64"),
        (V4_FLAGS, (CONFIG,), "amd64", "amd64/v4 amd64/v3 amd64/v2 amd64 386"),
        # AVX2 without BMI2, and AVX-512 without AVX2: no guess upwards.
        (V3_FLAGS.replace(" bmi2", ""), (), "amd64", "amd64/v2 amd64"),
        (f"{V2_FLAGS} avx512f avx512dq avx512cd avx512bw avx512vl", (), "amd64", "amd64/v2 amd64"),
        # 386: proven by the configuration, by a program that ran, by a 32-bit userland.
        (V1_FLAGS, (CONFIG,), "amd64", "amd64 386"),
        (V1_FLAGS, (CONFIG, "vsyscall32 yes"), "amd64", "amd64 386"),
        (V1_FLAGS, ("ran-386 yes",), "amd64", "amd64 386"),
        (V1_FLAGS, ("ran-386 yes", "vsyscall32 no"), "amd64", "amd64 386"),
        (V1_FLAGS, (), "386", "386 amd64"),
        # Not proven: nothing is known, or only that the kernel has the switch.
        (V1_FLAGS, ("vsyscall32 yes",), "amd64", "amd64"),
        # Disproven.
        (V1_FLAGS, ("config CONFIG_IA32_EMULATION is not set",), "amd64", "amd64"),
        (V1_FLAGS, ("vsyscall32 no", CONFIG), "amd64", "amd64"),
        (V1_FLAGS, (CONFIG, OFF), "amd64", "amd64"),
        (V1_FLAGS, (CONFIG, "parameter ia32_emulation=0"), "amd64", "amd64"),
        (V1_FLAGS, (CONFIG, "parameter ia32_emulation=off"), "amd64", "amd64"),
        # Switched off by default, and on by the parameter.
        (V1_FLAGS, (CONFIG, OFF, "parameter ia32_emulation=1"), "amd64", "amd64 386"),
        # What ran may have been QEMU.
        (V1_FLAGS, ("ran-386 yes", *QEMU_I386), "amd64", "amd64"),
        (V1_FLAGS, ("ran-386 yes", CONFIG, *QEMU_I386), "amd64", "amd64 386"),
    ],
)
def test_x86(flags: str, lines: tuple[str, ...], userland: str, native: str) -> None:
    text = answer(f"cpu flags\t\t: {flags}", *lines, uname="Linux 6.1 x86_64", userland=userland)
    assert _native(text) == native
