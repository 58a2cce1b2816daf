"""From facts to a device: genuine answers, then devices that are not at hand, made of facts with a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch_platforms.device import Board, Emulation, from_json
from polyarch_platforms.errors import FactsError
from polyarch_platforms.host import detect, parse_facts, riscv_extensions
from polyarch_platforms.platform import parse
from support.probe_answers import A76, ARM64, ARMV6, ARMV7, answer, core, tree

FACTS = Path(__file__).parent / "facts"
ARM7 = "arm/v7 arm/v6 arm/v5"
ARM = f"arm/v8 {ARM7}"
V82 = "arm64/v8.2 arm64/v8.1 arm64"


@pytest.mark.parametrize(
    ("name", "platform", "native", "compat32", "board", "model", "inside"),
    [
        # /proc/cpuinfo says "CPU architecture: 7".
        ("pi-zero-w", "arm/v6", "arm/v6 arm/v5", None, ("Raspberry Pi Zero W", "BCM2835"), "ARM1176JZF-S", ""),
        ("pi-2-b", "arm/v7", ARM7, None, ("Raspberry Pi 2 Model B", "BCM2836"), "Cortex-A7", ""),
        ("pi-3-b-64bit", "arm64", f"arm64 {ARM}", True, ("Raspberry Pi 3 Model B", "BCM2837"), "Cortex-A53", ""),
        (
            *("pi-3-b-64bit-kernel-32bit-userland", "arm/v8", f"{ARM} arm64", True),
            *(("Raspberry Pi 3 Model B", "BCM2837"), "Cortex-A53", ""),
        ),
        ("virt-arm64", "arm64", f"arm64 {ARM}", True, None, "Cortex-A72", ""),
        ("virt-armhf", "arm/v7", ARM7, None, None, "Cortex-A15", ""),
        ("virt-cortex-a76", "arm64", f"{V82} {ARM}", True, None, "Cortex-A76", ""),
        ("virt-neoverse-n1", "arm64", f"{V82} {ARM}", True, None, "Neoverse-N1", ""),
        # The kernel refuses PER_LINUX32: no AArch32.
        ("virt-a64fx", "arm64", V82, False, None, "A64FX", ""),
        # QEMU's user mode shows the host's /proc/cpuinfo: nothing of it is believed.
        ("qemu-user-arm64", "arm64", "arm64", False, None, "", "qemu chroot"),
        ("qemu-user-armhf", "arm/v7", ARM7, None, None, "", "qemu chroot"),
        ("qemu-user-armel", "arm/v7", ARM7, None, None, "", "qemu chroot"),
        ("qemu-user-i386", "386", "386", None, None, "", "qemu chroot"),
        ("qemu-user-ppc64el", "ppc64le", "ppc64le", None, None, "", "qemu chroot"),
        ("qemu-user-s390x", "s390x", "s390x", None, None, "", "qemu chroot"),
    ],
)
def test_a_genuine_answer(
    name: str,
    platform: str,
    native: str,
    compat32: bool | None,
    board: tuple[str, str] | None,
    model: str,
    inside: str,
) -> None:
    device = detect(parse_facts((FACTS / f"{name}.txt").read_text()))
    assert str(device.platform) == f"linux/{platform}"
    assert [str(one) for one in device.native] == [f"linux/{one}" for one in native.split()]
    assert device.compat32 is compat32
    assert (device.board and (device.board.model, device.board.soc)) == board
    assert device.cpu.model == model
    assert device.inside == tuple(inside.split())
    assert device.page_size == 4096
    assert from_json(device.to_json()) == device


def test_no_genuine_answer_is_left_out() -> None:
    marks = [mark for mark in test_a_genuine_answer.pytestmark if mark.name == "parametrize"]  # type: ignore[attr-defined]
    assert {row[0] for row in marks[0].args[1]} == {path.stem for path in FACTS.glob("*.txt")}


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
CONFIG = "config CONFIG_IA32_EMULATION=y"
OFF = "config CONFIG_IA32_EMULATION_DEFAULT_DISABLED=y"
QEMU_I386 = (
    "binfmt qemu-i386:enabled",
    "binfmt qemu-i386:interpreter /usr/bin/qemu-i386-static",
    "binfmt qemu-i386:flags: F",
    "binfmt qemu-i386:offset 0",
    "binfmt qemu-i386:magic 7f454c4601010100000000000000000002000300",
    "binfmt qemu-i386:mask fffffffffffefe00fffffffffffffffffeffffff",
)


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


def test_x32_is_no_386() -> None:
    text = answer(uname="Linux 6.1 x86_64", userland="amd64").replace(
        "elf-user 7f 45 4c 46 02", "elf-user 7f 45 4c 46 01"
    )
    device = detect(parse_facts(text))
    assert device.userland_bits == 64
    assert device.compat32 is None


def test_a_machine_that_is_emulated_by_something_else() -> None:
    """Rosetta in a container on Apple's machines: the kernel started a program for arm64."""
    text = answer(
        *("exe /run/rosetta/rosetta", f"cpu flags : {V4_FLAGS}", CONFIG),
        uname="Linux 6.1 x86_64",
        userland="amd64",
        process="arm64",
    )
    device = detect(parse_facts(text))
    assert device.inside == ("rosetta",)
    assert [str(one) for one in device.native] == ["linux/amd64"]


def test_qemu_on_its_own_architecture_is_known_by_name() -> None:
    text = answer("exe /usr/bin/qemu-x86_64-static", uname="Linux 6.1 x86_64", userland="amd64")
    assert detect(parse_facts(text)).inside == ("qemu",)
    text = answer("exe /usr/libexec/qemu-binfmt/x86_64-binfmt-P", uname="Linux 6.1 x86_64", userland="amd64")
    assert detect(parse_facts(text)).inside == ("qemu",)


def test_a_shell_of_the_other_word_size_is_no_emulator() -> None:
    text = answer("exe /bin/sh", uname="Linux 6.1 aarch64", userland="arm64", process="arm")
    assert detect(parse_facts(text)).inside == ()


@pytest.mark.parametrize(
    ("lines", "release", "inside"),
    [
        ((), "6.1.0", ""),
        (("inside docker",), "6.1.0", "docker"),
        (("inside podman", "inside oci"), "6.1.0", "podman oci"),
        ((), "5.15.90.1-microsoft-standard-WSL2", "wsl2"),
        (("inside docker",), "5.15.90.1-microsoft-standard-WSL2", "docker wsl2"),
        ((), "4.4.0-19041-Microsoft", "wsl1"),
    ],
)
def test_what_a_machine_runs_in(lines: tuple[str, ...], release: str, inside: str) -> None:
    device = detect(parse_facts(answer(*lines, uname=f"Linux {release} x86_64")))
    assert device.inside == tuple(inside.split())


def test_a_root_that_is_no_mount_is_a_chroot() -> None:
    text = answer(uname="Linux 6.1 x86_64", userland="amd64").replace("root-mount yes\n", "")
    assert detect(parse_facts(text)).inside == ("chroot",)


def test_the_registered_emulators() -> None:
    arm = [line.replace("i386", "arm").replace("02000300", "02002800") for line in QEMU_I386]
    disabled = [line.replace("arm", "s390x").replace("enabled", "disabled") for line in arm]
    other = ("binfmt python:enabled", "binfmt python:interpreter /usr/bin/python3", "binfmt python:extension .pyc")
    text = answer(
        *QEMU_I386, *arm, *disabled, *other, "binfmt status:enabled", uname="Linux 6.1 x86_64", userland="amd64"
    )
    assert detect(parse_facts(text)).emulated == (
        Emulation(parse("386"), "/usr/bin/qemu-i386-static", "registered"),
        Emulation(parse("arm/v7"), "/usr/bin/qemu-arm-static", "registered"),
    )
    assert detect(parse_facts(text.replace("status:enabled", "status:disabled"))).emulated == ()
    native = text.replace("binfmt status", f"{CONFIG}\nbinfmt status")
    assert [str(one.platform) for one in detect(parse_facts(native)).emulated] == ["linux/arm/v7"]


@pytest.mark.parametrize(
    ("lines", "board"),
    [
        (
            (
                *tree("Raspberry Pi 4 Model B Rev 1.4", "raspberrypi,4-model-b", "brcm,bcm2711"),
                "dt-revision 00 c0 31 14",
            ),
            Board("Raspberry Pi 4 Model B Rev 1.4", "c03114", "BCM2711"),
        ),
        (
            ("cpu Revision\t: a02042", "cpu Hardware\t: BCM2835"),
            Board("Raspberry Pi 2 Model B Rev 1.2", "a02042", "BCM2837"),
        ),
        (("cpu Revision\t: c04ff0", "cpu Hardware\t: BCM2835"), Board("Raspberry Pi", "c04ff0", "BCM2712")),
        (tree("Radxa ROCK 5 Model B", "radxa,rock-5b", "rockchip,rk3588"), Board("Radxa ROCK 5 Model B", "", "RK3588")),
        (tree("linux,dummy-virt", "linux,dummy-virt"), None),
        ((), None),
    ],
)
def test_the_board(lines: tuple[str, ...], board: Board | None) -> None:
    assert detect(parse_facts(answer(*lines, uname="Linux 6.1 aarch64", userland="arm64"))).board == board


@pytest.mark.parametrize(
    ("machine", "lines", "vendor", "model"),
    [
        ("x86_64", ("cpu vendor_id\t: GenuineIntel", "cpu model name\t: Xeon"), "GenuineIntel", "Xeon"),
        ("aarch64", core("0xd08", ARM64), "ARM", "Cortex-A72"),
        ("aarch64", (*core("0xd03", ARM64), "cpu CPU part : 0xd09"), "ARM", "Cortex-A53 + Cortex-A73"),
        ("aarch64", core("0xfff", ARM64), "ARM", ""),
        ("riscv64", ("cpu uarch\t: sifive,u74-mc",), "", "sifive,u74-mc"),
        ("ppc64le", ("cpu cpu\t\t: POWER9 (raw), altivec supported",), "", "POWER9 (raw), altivec supported"),
        ("s390x", ("cpu vendor_id : IBM/S390", "cpu processor 0: version = FF"), "IBM/S390", "version = FF"),
        ("loongarch64", ("cpu Model Name\t: Loongson-3A5000",), "", "Loongson-3A5000"),
    ],
)
def test_the_processor(machine: str, lines: tuple[str, ...], vendor: str, model: str) -> None:
    cpu = detect(parse_facts(answer(*lines, uname=f"Linux 6.1 {machine}"))).cpu
    assert (cpu.vendor, cpu.model) == (vendor, model)


@pytest.mark.parametrize(
    ("uname", "says"),
    [
        ("Darwin 23.1.0 arm64", "not Linux"),
        ("FreeBSD 14.0 amd64", "not Linux"),
        ("Linux 6.1 sparc64", "no images"),
        ("Linux 6.1 ppc64", "no images"),
        ("Linux 6.1 \x1b[31m", "no images"),
    ],
)
def test_a_machine_that_runs_no_images(uname: str, says: str) -> None:
    with pytest.raises(FactsError) as caught:
        detect(parse_facts(answer(uname=uname)))
    assert says in caught.value.message
    assert caught.value.message.isprintable()


def test_mips64_with_big_endian_programs_is_not_mips64le() -> None:
    text = answer(uname="Linux 6.1 mips64", userland="s390x")
    with pytest.raises(FactsError):
        detect(parse_facts(text))


def test_the_words_of_a_risc_v_isa() -> None:
    assert riscv_extensions("rv64imafdc_zicsr_zba") == ("i", "m", "a", "f", "d", "c", "zicsr", "zba")
    assert riscv_extensions("rv64GC") == ("i", "m", "a", "f", "d", "c")
