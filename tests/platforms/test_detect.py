"""From facts to a device: genuine answers, then devices that are not at hand, made of facts with a source."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch_platforms.device import Board, Emulation, from_json
from polyarch_platforms.errors import FactsError
from polyarch_platforms.host import detect, parse_facts, riscv_extensions
from polyarch_platforms.platform import parse
from support.device_rows import ROWS, Row
from support.probe_answers import ARM64, CONFIG, QEMU_I386, answer, core, tree

FACTS = Path(__file__).parent / "facts"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_the_table_of_devices(row: Row) -> None:
    device = detect(parse_facts((FACTS / f"{row.name}.txt").read_text()))
    assert str(device.platform) == f"linux/{row.platform}"
    assert [str(one) for one in device.native] == [f"linux/{one}" for one in row.native.split()]
    assert device.board == (row.board and Board(*row.board))
    assert (device.cpu.model, device.cpu.level) == (row.cpu, row.level)
    assert device.compat32 is row.compat32
    assert device.page_size == row.pages
    assert device.inside == tuple(row.inside.split())
    assert from_json(device.to_json()) == device


def test_the_table_has_every_fixture_once_and_each_tells_its_source() -> None:
    names = [row.name for row in ROWS]
    assert sorted(names) == sorted(path.stem for path in FACTS.glob("*.txt"))
    assert len(names) >= 60
    for path in FACTS.glob("*.txt"):
        comment = [line for line in path.read_text().splitlines() if line.startswith("# ")]
        assert comment[0].startswith(f"# {path.stem}: ")
        assert any(one.startswith("# source: ") or "qemu" in one.lower() for one in comment), path.name


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
        *("exe /run/rosetta/rosetta", "cpu flags : fpu sse2 avx512f", CONFIG),
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
        (
            "s390x",
            ("cpu vendor_id : IBM/S390", "cpu processor 0: version = FF,  machine = 8561"),
            "IBM/S390",
            "machine 8561",
        ),
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
