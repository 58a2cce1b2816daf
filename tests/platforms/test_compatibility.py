"""What a CPU runs natively: a yes-list, best first, and a no-list for each device; and where a candidate stands.

The rows are the project's table of devices, one by one. What a device "accepts" is what `rank` says of an index entry;
`?` marks an entry that only its program can prove.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch_platforms import architecture
from polyarch_platforms.compatibility import Cpu, Rank, asked, own_platform, rank, runs_32bit, vector
from polyarch_platforms.platform import Platform, normalise

ARM_V8 = "arm/v8 arm/v7 arm/v6 arm/v5"
X86 = "amd64 amd64/v2 amd64/v3 amd64/v4 386"
OTHERS = "s390x ppc64le riscv64 loong64 mips64le"

# id -> CPU, the vector, entries taken beyond the vector, entries refused.
DEVICES: dict[str, tuple[Cpu, str, str, str]] = {
    # Pi 1, Zero, Zero W: never v7; an entry without a variant only once its ELF proves it.
    "pi-1, zero: ARMv6": (
        Cpu("arm", "v6", page_size=4096, userland_bits=32),
        "arm/v6 arm/v5",
        "arm?",
        f"arm/v7 arm/v8 arm64 {X86} {OTHERS}",
    ),
    "ARMv5": (Cpu("arm", "v5"), "arm/v5", "arm?", f"arm/v6 arm/v7 arm/v8 arm64 {X86} {OTHERS}"),
    "pi-2; pi-3 with a 32-bit kernel": (
        Cpu("arm", "v7", page_size=4096, userland_bits=32),
        "arm/v7 arm/v6 arm/v5",
        "arm",
        f"arm/v8 arm64 arm64/v8.1 {X86} {OTHERS}",
    ),
    "32-bit userland on a 64-bit kernel": (
        Cpu("arm64", "v8", page_size=4096, userland_bits=32),
        f"{ARM_V8} arm64",
        "arm",
        f"arm64/v8.1 arm64/v9 {X86} {OTHERS}",
    ),
    "32-bit userland on a 64-bit kernel, Cortex-A76": (
        Cpu("arm64", "v8.2", aarch32=None, page_size=4096, userland_bits=32),
        f"{ARM_V8} arm64/v8.2 arm64/v8.1 arm64",
        "arm",
        f"arm64/v8.3 {X86} {OTHERS}",
    ),
    "pi-3, pi-4, zero-2: 64-bit": (
        Cpu("arm64", "v8", aarch32=True, page_size=4096, userland_bits=64),
        f"arm64 {ARM_V8}",
        "arm",
        f"arm64/v8.1 arm64/v8.2 arm64/v9 {X86} {OTHERS}",
    ),
    "64-bit, AArch32 not proven": (
        Cpu("arm64", "v8", aarch32=None, page_size=4096, userland_bits=64),
        "arm64",
        "",
        f"arm/v5 arm/v6 arm/v7 arm/v8 arm arm64/v8.1 {X86} {OTHERS}",
    ),
    "64-bit, AArch32 disproven": (
        Cpu("arm64", "v9", aarch32=False, page_size=4096, userland_bits=64),
        "arm64/v9 arm64/v8.5 arm64/v8.4 arm64/v8.3 arm64/v8.2 arm64/v8.1 arm64",
        "",
        f"{ARM_V8} arm arm64/v8.6 arm64/v9.1 {X86} {OTHERS}",
    ),
    "v9.2 without AArch32": (
        Cpu("arm64", "v9.2", aarch32=False, page_size=4096),
        "arm64/v9.2 arm64/v9.1 arm64/v9 "
        "arm64/v8.7 arm64/v8.6 arm64/v8.5 arm64/v8.4 arm64/v8.3 arm64/v8.2 arm64/v8.1 arm64",
        "",
        f"{ARM_V8} arm arm64/v8.8 arm64/v9.3",
    ),
    "pi-5, 4K pages": (
        Cpu("arm64", "v8.2", aarch32=True, page_size=4096, userland_bits=64),
        f"arm64/v8.2 arm64/v8.1 arm64 {ARM_V8}",
        "arm",
        f"arm64/v8.3 arm64/v9 {X86} {OTHERS}",
    ),
    "pi-5, 16K pages": (
        Cpu("arm64", "v8.2", aarch32=True, page_size=16384, userland_bits=64),
        "arm64/v8.2 arm64/v8.1 arm64",
        "",
        f"{ARM_V8} arm arm64/v8.3 {X86} {OTHERS}",
    ),
    "64K pages": (
        Cpu("arm64", "v8.2", aarch32=True, page_size=65536),
        "arm64/v8.2 arm64/v8.1 arm64",
        "",
        f"{ARM_V8} arm",
    ),
    "page size unknown": (Cpu("arm64", "v8", aarch32=True), "arm64", "", f"{ARM_V8} arm"),
    "arm64, nothing known": (Cpu("arm64"), "arm64", "", f"{ARM_V8} arm arm64/v8.1 {X86}"),
    "x86-64-v1": (
        Cpu("amd64", "v1", ia32=True, page_size=4096, userland_bits=64),
        "amd64 386",
        "",
        f"amd64/v2 amd64/v3 amd64/v4 arm64 arm/v7 arm {OTHERS}",
    ),
    "x86-64-v2": (Cpu("amd64", "v2", ia32=True), "amd64/v2 amd64 386", "", "amd64/v3 amd64/v4 amd64/v5"),
    "x86-64-v3": (Cpu("amd64", "v3", ia32=True), "amd64/v3 amd64/v2 amd64 386", "", "amd64/v4 arm64 arm"),
    "x86-64-v4": (Cpu("amd64", "v4", ia32=True), "amd64/v4 amd64/v3 amd64/v2 amd64 386", "", f"arm64 {OTHERS}"),
    "x86-64, IA32 not proven": (Cpu("amd64", "v3", ia32=None), "amd64/v3 amd64/v2 amd64", "", "386 amd64/v4"),
    "x86-64, IA32 disproven": (Cpu("amd64", "v2", ia32=False), "amd64/v2 amd64", "", "386 amd64/v3"),
    "x86-64, nothing known": (Cpu("amd64"), "amd64", "", "amd64/v2 386"),
    "64-bit x86 kernel, 32-bit userland": (
        Cpu("amd64", "v2", userland_bits=32),
        "386 amd64/v2 amd64",
        "",
        "amd64/v3 arm64 arm",
    ),
    "32-bit x86": (Cpu("386", userland_bits=32), "386", "", f"amd64 amd64/v2 arm/v7 arm {OTHERS}"),
    "riscv64, RVA20": (
        Cpu("riscv64", "rva20u64"),
        "riscv64/rva20u64 riscv64",
        "",
        "riscv64/rva22u64 riscv64/rva23u64 arm64 amd64",
    ),
    "riscv64, RVA22": (
        Cpu("riscv64", "rva22u64"),
        "riscv64/rva22u64 riscv64/rva20u64 riscv64",
        "",
        "riscv64/rva23u64 arm64",
    ),
    "riscv64, RVA23": (
        Cpu("riscv64", "rva23u64"),
        "riscv64/rva23u64 riscv64/rva22u64 riscv64/rva20u64 riscv64",
        "",
        "riscv64/rva30u64 amd64",
    ),
    "riscv64, profile unknown": (Cpu("riscv64"), "riscv64", "", "riscv64/rva20u64 riscv64/rva22u64"),
    "POWER8": (Cpu("ppc64le", "power8"), "ppc64le/power8 ppc64le", "", "ppc64le/power9 ppc64le/power10"),
    "POWER9": (Cpu("ppc64le", "power9"), "ppc64le/power9 ppc64le/power8 ppc64le", "", "ppc64le/power10 amd64"),
    "POWER10": (
        Cpu("ppc64le", "power10"),
        "ppc64le/power10 ppc64le/power9 ppc64le/power8 ppc64le",
        "",
        "ppc64le/power11 s390x",
    ),
    "s390x": (Cpu("s390x"), "s390x", "", f"s390x/z14 {X86} arm64 arm"),
    "loong64": (Cpu("loong64"), "loong64", "", f"mips64le {X86} arm64"),
    "mips64le": (Cpu("mips64le"), "mips64le", "", f"loong64 {X86} arm64"),
    "an architecture nobody knows": (Cpu("sparc64"), "sparc64", "", f"sparc64/v9 {X86} arm"),
}


def _platform(text: str) -> Platform:
    """`arm` without a variant stays so: an index entry, not what a user writes."""
    return normalise(Platform("linux", *text.split("/")))


VECTORS = [pytest.param(cpu, native, id=name) for name, (cpu, native, _, _) in DEVICES.items()]
ACCEPTED = [
    pytest.param(cpu, entry.rstrip("?"), not entry.endswith("?"), id=f"{name}: {entry}")
    for name, (cpu, native, also, _) in DEVICES.items()
    for entry in (native + " " + also).split()
]
REFUSED = [
    pytest.param(cpu, entry, id=f"{name}: {entry}")
    for name, (cpu, _, _, refused) in DEVICES.items()
    for entry in refused.split()
]


def test_the_table_is_large_enough() -> None:
    assert len(DEVICES) >= 30
    assert len(ACCEPTED) > 100
    assert len(REFUSED) > 200


@pytest.mark.parametrize(("cpu", "native"), VECTORS)
def test_the_vector_is_this_in_this_order(cpu: Cpu, native: str) -> None:
    assert [str(one).removeprefix("linux/") for one in vector(cpu)] == native.split()


@pytest.mark.parametrize(("cpu", "entry", "proven"), ACCEPTED)
def test_the_device_takes(cpu: Cpu, entry: str, proven: bool) -> None:
    found = rank(vector(cpu), _platform(entry))
    assert found is not None
    assert found.proven is proven


@pytest.mark.parametrize(("cpu", "entry"), REFUSED)
def test_the_device_refuses(cpu: Cpu, entry: str) -> None:
    assert rank(vector(cpu), _platform(entry)) is None


def _order(native: tuple[Platform, ...], entries: str) -> list[str]:
    found = [(rank(native, _platform(entry)), entry) for entry in entries.split()]
    return [entry for place, entry in sorted((place, entry) for place, entry in found if place)]


@pytest.mark.parametrize(
    ("cpu", "entries", "order"),
    [
        # An entry without a variant is v7, just behind one that says so.
        (Cpu("arm", "v7"), "arm/v5 arm arm/v6 arm/v7 arm/v8", "arm/v7 arm arm/v6 arm/v5"),
        # On ARMv6 it may be anything, and comes last.
        (Cpu("arm", "v6"), "arm arm/v5 arm/v6 arm/v7", "arm/v6 arm/v5 arm"),
        (Cpu("arm64", "v8", True, None, 4096), "arm arm/v5 arm/v8 arm64", "arm64 arm/v8 arm arm/v5"),
        (Cpu("arm64", "v8", None, None, 4096, 32), "arm64 arm arm/v6", "arm arm/v6 arm64"),
        (Cpu("amd64", "v3", None, True), "386 amd64 amd64/v4 amd64/v2", "amd64/v2 amd64 386"),
        (Cpu("riscv64", "rva22u64"), "riscv64 riscv64/rva23u64 riscv64/rva20u64", "riscv64/rva20u64 riscv64"),
        (Cpu("ppc64le", "power9"), "ppc64le ppc64le/power8 ppc64le/power10", "ppc64le/power8 ppc64le"),
    ],
)
def test_the_order_of_what_is_taken(cpu: Cpu, entries: str, order: str) -> None:
    assert _order(vector(cpu), entries) == order.split()


@pytest.mark.parametrize(
    ("native", "entry", "expected"),
    [
        ("arm64 arm/v8 arm/v7", "arm64", Rank(0, True)),
        ("arm64 arm/v8 arm/v7", "arm64/v8", Rank(0, True)),
        ("arm64 arm/v8 arm/v7", "arm/v7", Rank(4, True)),
        ("arm/v7 arm/v6", "arm/v7", Rank(0, True)),
        ("arm/v7 arm/v6", "arm", Rank(1, True)),
        ("arm/v6 arm/v5", "arm", Rank(4, False)),
        ("amd64/v3 amd64/v2 amd64", "amd64", Rank(4, True)),
        ("amd64", "amd64/v1", Rank(0, True)),
        ("arm64/v8.2 arm64", "aarch64", Rank(2, True)),
        # Unknown variants match by equality alone.
        ("riscv64/new riscv64", "riscv64/new", Rank(0, True)),
        ("s390x", "s390x/z14", None),
        ("s390x/z14", "s390x", Rank(2, False)),
        ("", "amd64", None),
    ],
)
def test_the_rank(native: str, entry: str, expected: Rank | None) -> None:
    assert rank([_platform(one) for one in native.split()], Platform("linux", *entry.split("/"))) == expected


def test_the_system_must_be_equal() -> None:
    native = (Platform("linux", "amd64"),)
    assert rank(native, Platform("windows", "amd64")) is None
    assert rank(native, Platform("linux", "amd64", os_version="6.1")) == Rank(0, True)
    assert rank((Platform("linux", "amd64", os_version="5.10"),), Platform("linux", "amd64", os_version="6.1"))
    windows = (Platform("windows", "amd64", os_version="10.0.17763"),)
    assert rank(windows, Platform("windows", "amd64", os_version="10.0.20348")) is None
    assert rank(windows, Platform("windows", "amd64", os_version="10.0.17763")) == Rank(0, True)
    assert rank(windows, Platform("windows", "amd64")) == Rank(0, True)


@pytest.mark.parametrize(
    ("platform", "takes"),
    [
        ("arm/v8", "arm/v8 arm/v7 arm/v6 arm/v5"),
        ("arm/v7", "arm/v7 arm/v6 arm/v5"),
        ("arm/v6", "arm/v6 arm/v5"),
        ("arm/v5", "arm/v5"),
        ("arm64", "arm64"),
        ("arm64/v8.2", "arm64/v8.2 arm64/v8.1 arm64"),
        ("arm64/v9", "arm64/v9 arm64/v8.5 arm64/v8.4 arm64/v8.3 arm64/v8.2 arm64/v8.1 arm64"),
        ("amd64", "amd64"),
        ("amd64/v3", "amd64/v3 amd64/v2 amd64"),
        ("386", "386"),
        ("riscv64", "riscv64 riscv64/rva20u64"),
        ("riscv64/rva22u64", "riscv64/rva22u64 riscv64/rva20u64"),
        ("ppc64le", "ppc64le ppc64le/power8"),
        ("ppc64le/power10", "ppc64le/power10 ppc64le/power9 ppc64le/power8"),
        ("s390x", "s390x"),
        ("arm64/v77", "arm64/v77"),
        ("sparc64", "sparc64"),
    ],
)
def test_a_platform_asked_by_name_takes_lower_variants_and_nothing_else(platform: str, takes: str) -> None:
    assert [str(one).removeprefix("linux/") for one in asked(_platform(platform))] == takes.split()


def test_a_platform_asked_by_name_keeps_its_system() -> None:
    assert asked(Platform("windows", "amd64", "v2", "10.0.1")) == (
        Platform("windows", "amd64", "v2", "10.0.1"),
        Platform("windows", "amd64", "", "10.0.1"),
    )


@pytest.mark.parametrize(
    ("cpu", "answer"),
    [
        (Cpu("arm64", aarch32=True, page_size=4096), True),
        (Cpu("arm64", aarch32=True, page_size=16384), False),
        (Cpu("arm64", aarch32=None, page_size=65536), False),
        (Cpu("arm64", aarch32=True), None),
        (Cpu("arm64", aarch32=None, page_size=4096), None),
        (Cpu("arm64", aarch32=False), False),
        (Cpu("arm64", userland_bits=32), True),
        (Cpu("amd64", ia32=True), True),
        (Cpu("amd64", ia32=False), False),
        (Cpu("amd64"), None),
        (Cpu("amd64", userland_bits=32), True),
        (Cpu("arm", userland_bits=32), None),
        (Cpu("s390x", aarch32=True, ia32=True), None),
    ],
)
def test_whether_32_bit_programs_run(cpu: Cpu, answer: bool | None) -> None:
    assert runs_32bit(cpu) is answer


@pytest.mark.parametrize(
    ("native", "own"),
    [("arm64/v8.2 arm64", "arm64"), ("amd64/v4 amd64", "amd64"), ("arm/v7 arm/v6", "arm/v7"), ("386 amd64", "386")],
)
def test_the_platform_of_a_devices_own_programs(native: str, own: str) -> None:
    assert own_platform([_platform(one) for one in native.split()]) == _platform(own)


_CPUS = st.builds(
    Cpu,
    st.sampled_from([*architecture.load(), "sparc64"]),
    st.sampled_from(["", "v5", "v6", "v7", "v8", "v8.2", "v9.1", "v1", "v3", "rva22u64", "power9", "odd"]),
    st.sampled_from([True, False, None]),
    st.sampled_from([True, False, None]),
    st.sampled_from([None, 4096, 16384]),
    st.sampled_from([None, 32, 64]),
)


@given(_CPUS)
def test_every_vector_is_sound(cpu: Cpu) -> None:
    native = vector(cpu)
    assert native
    assert len(set(native)) == len(native)
    assert all(normalise(one) == one for one in native)
    for index, one in enumerate(native):
        assert rank(native, one) in (Rank(2 * index, True), Rank(2 * index - 1, True))
    for one in native:
        if one.architecture != cpu.architecture:
            assert runs_32bit(cpu) is True
    assert own_platform(native).architecture == native[0].architecture
