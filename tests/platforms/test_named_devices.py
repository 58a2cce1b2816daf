"""The devices known by name."""

from __future__ import annotations

import pytest

from polyarch_platforms import arm_cpu
from polyarch_platforms.compatibility import own_platform
from polyarch_platforms.device import Board, from_json
from polyarch_platforms.errors import DeviceError
from polyarch_platforms.named import named, names

ARM = "arm/v8 arm/v7 arm/v6 arm/v5"
ARM7 = "arm/v7 arm/v6 arm/v5"
A76 = "arm64/v8.2 arm64/v8.1 arm64"
V84 = "arm64/v8.4 arm64/v8.3"


@pytest.mark.parametrize(
    ("name", "machine", "platform", "native"),
    [
        ("pi-1", "armv6l", "arm/v6", "arm/v6 arm/v5"),
        ("pi-zero", "armv6l", "arm/v6", "arm/v6 arm/v5"),
        ("pi-zero-w", "armv6l", "arm/v6", "arm/v6 arm/v5"),
        ("pi-zero-2", "aarch64", "arm64", f"arm64 {ARM}"),
        ("pi-zero-2-32bit", "armv7l", "arm/v7", ARM7),
        ("pi-2", "armv7l", "arm/v7", ARM7),
        ("pi-2-v1.2", "aarch64", "arm64", f"arm64 {ARM}"),
        ("pi-3", "aarch64", "arm64", f"arm64 {ARM}"),
        ("pi-3-32bit", "armv7l", "arm/v7", ARM7),
        ("pi-3-32bit-userland", "aarch64", "arm/v8", f"{ARM} arm64"),
        ("pi-4", "aarch64", "arm64", f"arm64 {ARM}"),
        ("pi-4-32bit", "armv7l", "arm/v7", ARM7),
        ("pi-5", "aarch64", "arm64", A76),
        ("pi-5-4k", "aarch64", "arm64", f"{A76} {ARM}"),
        ("pi-5-32bit-userland", "aarch64", "arm/v8", f"{ARM} {A76}"),
        ("pi-400", "aarch64", "arm64", f"arm64 {ARM}"),
        ("pi-500", "aarch64", "arm64", A76),
        ("cm3", "aarch64", "arm64", f"arm64 {ARM}"),
        ("cm4", "aarch64", "arm64", f"arm64 {ARM}"),
        ("cm5", "aarch64", "arm64", A76),
        ("sheevaplug", "armv5tel", "arm/v5", "arm/v5"),
        ("beaglebone-black", "armv7l", "arm/v7", ARM7),
        ("rock-5b", "aarch64", "arm64", f"{A76} {ARM}"),
        ("jetson-nano", "aarch64", "arm64", f"arm64 {ARM}"),
        ("aws-graviton2", "aarch64", "arm64", f"{A76} {ARM}"),
        ("aws-graviton3", "aarch64", "arm64", f"{V84} {A76} {ARM}"),
        # Its core has no AArch32.
        ("aws-graviton4", "aarch64", "arm64", f"arm64/v9 arm64/v8.5 {V84} {A76}"),
        ("ampere-altra-64k", "aarch64", "arm64", A76),
        ("apple-silicon-vm", "aarch64", "arm64", f"{V84} {A76}"),
        ("i686", "i686", "386", "386"),
        ("x86-64-v1", "x86_64", "amd64", "amd64 386"),
        ("x86-64-v2", "x86_64", "amd64", "amd64/v2 amd64 386"),
        ("x86-64-v3", "x86_64", "amd64", "amd64/v3 amd64/v2 amd64 386"),
        ("x86-64-v4", "x86_64", "amd64", "amd64/v4 amd64/v3 amd64/v2 amd64 386"),
        ("x86-64-v2-no-ia32", "x86_64", "amd64", "amd64/v2 amd64"),
        ("x86-64-v2-32bit-userland", "x86_64", "386", "386 amd64/v2 amd64"),
        ("visionfive-2", "riscv64", "riscv64", "riscv64/rva20u64 riscv64"),
        ("power9", "ppc64le", "ppc64le", "ppc64le/power9 ppc64le/power8 ppc64le"),
        ("s390x", "s390x", "s390x", "s390x"),
        ("loong64", "loongarch64", "loong64", "loong64"),
        ("PI-ZERO", "armv6l", "arm/v6", "arm/v6 arm/v5"),
    ],
)
def test_what_a_named_device_runs(name: str, machine: str, platform: str, native: str) -> None:
    device = named(name)
    assert device.machine == machine
    assert str(device.platform) == f"linux/{platform}"
    assert [str(one) for one in device.native] == [f"linux/{one}" for one in native.split()]


@pytest.mark.parametrize("name", names())
def test_every_name_gives_a_whole_device(name: str) -> None:
    device = named(name)
    assert device.name == name
    assert device.platform == own_platform(device.native)
    assert device.emulated == ()
    assert device.userland_bits in (32, 64)
    assert device.page_size in (4096, 16384, 65536)
    assert from_json(device.to_json()) == device
    if device.platform.architecture == "arm" and device.machine != "aarch64":
        core = next(one for one in _cores() if one.model == device.cpu.model)
        assert not core.version.startswith("v8") or core.aarch32 == "kernel", "a 32-bit kernel needs AArch32 at EL1"


def _cores() -> list[arm_cpu.ArmCpu]:
    return list(arm_cpu._table()[1].values())


def test_there_are_many_and_each_once() -> None:
    assert len(names()) >= 30
    assert len(set(names())) == len(names())


def test_the_board_of_a_named_device() -> None:
    assert named("pi-zero-w").board == Board("Raspberry Pi Zero W", "", "BCM2835")
    assert named("x86-64-v2").board is None
    assert named("pi-4").cpu.model == "Cortex-A72"
    assert named("power9").cpu.level == "power9"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [("pi-33", "pi-3"), ("x86-64-v5", "x86-64-v4"), ("pizero", "pi-zero"), ("graviton3", "aws-graviton3")],
)
def test_an_unknown_name_is_answered_with_the_three_nearest(name: str, nearest: str) -> None:
    with pytest.raises(DeviceError) as caught:
        named(name)
    assert nearest in caught.value.nearest
    assert len(caught.value.nearest) == 3
    assert set(caught.value.nearest) <= set(names())
    assert caught.value.hint is not None
    assert nearest in caught.value.hint


@pytest.mark.parametrize("name", ["", "\x1b[31m\n", "x" * 100_000, "\ud800", "../../etc/passwd"])
def test_a_name_that_is_none(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        named(name)
    assert len(caught.value.nearest) == 3
    assert caught.value.message.isprintable()
    assert len(caught.value.message) < 200


@pytest.mark.parametrize(
    "name", ["pi-5-32bit", "pi-500-32bit", "cm5-32bit", "pi-zero-64bit", "pi-1-64bit", "pi-2-64bit"]
)
def test_a_device_that_cannot_exist_says_why(name: str) -> None:
    with pytest.raises(DeviceError) as caught:
        named(name)
    assert "32-bit kernel" in caught.value.message or "64-bit mode" in caught.value.message


def test_the_table_of_arm_cores_is_sound() -> None:
    cores = _cores()
    assert len({(one.implementer, one.part) for one in cores}) == len(cores)
    for core in cores:
        assert arm_cpu.find(core.implementer, core.part) is core
        assert core.vendor
        assert core.version[:2] in ("v5", "v6", "v7", "v8", "v9")
        assert core.aarch32 in (None, "kernel", "user", "none")
        assert not (core.aarch32 and core.version in ("v5", "v6", "v7"))
    assert arm_cpu.find(0x41, 0xFFF) is None
    assert arm_cpu.vendor(0x41) == "ARM"
    assert arm_cpu.vendor(0x7F) == ""
