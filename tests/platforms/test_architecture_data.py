"""The architectures' TOML files: the facts, and that they agree with each other."""

from __future__ import annotations

import pytest

from polyarch_platforms import architecture
from polyarch_platforms.architecture import Architecture

ALL = list(architecture.load().values())


def _name(one: Architecture) -> str:
    return one.name


def test_all_nine_are_there() -> None:
    assert list(architecture.load()) == [
        *("386", "amd64", "arm", "arm64", "loong64", "mips64le", "ppc64le", "riscv64", "s390x")
    ]
    assert architecture.get("arm64") is architecture.load()["arm64"]
    assert architecture.get("aarch64") is None


# e_ident[EI_CLASS], e_ident[EI_DATA] and e_machine, as `readelf -h` of Debian's busybox-static shows them;
# for mips64le and loong64 as in the gABI's list of machines.
@pytest.mark.parametrize(
    ("name", "start"),
    [
        ("386", "7f454c46 01 01 01 03 0000000000000000 0200 0300"),
        ("amd64", "7f454c46 02 01 01 03 0000000000000000 0200 3e00"),
        ("arm", "7f454c46 01 01 01 03 0000000000000000 0200 2800"),
        ("arm64", "7f454c46 02 01 01 03 0000000000000000 0200 b700"),
        ("ppc64le", "7f454c46 02 01 01 03 0000000000000000 0200 1500"),
        ("riscv64", "7f454c46 02 01 01 03 0000000000000000 0200 f300"),
        ("s390x", "7f454c46 02 02 01 03 0000000000000000 0002 0016"),
        ("mips64le", "7f454c46 02 01 01 00 0000000000000000 0200 0800"),
        ("loong64", "7f454c46 02 01 01 00 0000000000000000 0200 0201"),
    ],
)
def test_the_magic_takes_its_own_programs_and_no_others(name: str, start: str) -> None:
    header = bytes.fromhex(start.replace(" ", ""))
    takers = [one.name for one in ALL if _takes(one, header)]
    assert takers == [name]
    big = header[5] == 2
    dynamic = header[:16] + (b"\x00\x03" if big else b"\x03\x00") + header[18:]
    relocatable = header[:16] + (b"\x00\x01" if big else b"\x01\x00") + header[18:]
    core = header[:16] + (b"\x00\x04" if big else b"\x04\x00") + header[18:]
    known = architecture.load()[name]
    assert _takes(known, dynamic)
    assert not _takes(known, relocatable)
    assert not _takes(known, core)


@pytest.mark.parametrize("known", ALL, ids=_name)
def test_the_mask_is_strict_where_the_kernel_is(known: Architecture) -> None:
    ((magic, mask),) = known.magic
    assert len(magic) == len(mask) == 20
    assert mask[:7] == b"\xff" * 7, "magic number, class, byte order and version exactly"
    assert mask[7] == 0xFC, "OSABI: System V (0) or GNU/Linux (3)"
    for osabi in (0, 3):
        assert _takes(known, magic[:7] + bytes((osabi,)) + magic[8:])
    for osabi in (6, 9, 12, 64, 97, 255):  # Solaris, FreeBSD, OpenBSD, Arm EABI, Arm, standalone
        assert not _takes(known, magic[:7] + bytes((osabi,)) + magic[8:])
    other_order = bytes((3 - magic[5],))
    assert not _takes(known, magic[:5] + other_order + magic[6:])


def _takes(known: Architecture, header: bytes) -> bool:
    ((magic, mask),) = known.magic
    return all((a ^ b) & m == 0 for a, b, m in zip(header, magic, mask, strict=True))


@pytest.mark.parametrize("known", ALL, ids=_name)
def test_each_file_agrees_with_itself(known: Architecture) -> None:
    for variant in (known.default_variant, known.unlabelled_variant, known.implied_variant):
        assert not variant or variant in known.variants
    for variant, held in known.includes.items():
        assert {variant, *held} <= set(known.variants)
        assert all(known.variants.index(one) > known.variants.index(variant) for one in held)
    assert set(known.features) <= set(known.variants)
    assert set(known.may_run) <= set(architecture.load())
    assert all(variant == "" or variant in known.variants for _, variant in known.aliases.values())
    assert known.elf_flags_value & ~known.elf_flags_mask == 0
    if known.hwcap2:
        assert {name for needs in known.features.values() for name in needs} <= set(known.hwcap2)


def test_no_word_means_two_architectures() -> None:
    words = [word for one in ALL for word in (one.name, *one.aliases)]
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("name", "variant", "runs"),
    [
        ("arm", "v7", "v7 v6 v5"),
        ("arm", "v5", "v5"),
        ("amd64", "v3", "v3 v2 v1"),
        ("arm64", "v8", "v8"),
        ("arm64", "v8.2", "v8.2 v8.1 v8"),
        ("arm64", "v8.9", "v8.9 v8.8 v8.7 v8.6 v8.5 v8.4 v8.3 v8.2 v8.1 v8"),
        # v9.N holds v8.(N+5), not more.
        ("arm64", "v9", "v9 v8.5 v8.4 v8.3 v8.2 v8.1 v8"),
        ("arm64", "v9.2", "v9.2 v9.1 v9 v8.7 v8.6 v8.5 v8.4 v8.3 v8.2 v8.1 v8"),
        ("riscv64", "rva22u64", "rva22u64 rva20u64"),
        ("ppc64le", "power9", "power9 power8"),
        ("arm64", "v27", "v27"),
        ("s390x", "z14", "z14"),
    ],
)
def test_what_a_variant_runs(name: str, variant: str, runs: str) -> None:
    assert architecture.load()[name].runs(variant) == tuple(runs.split())


@pytest.mark.parametrize("known", [one for one in ALL if one.features], ids=_name)
def test_the_level_is_the_best_whose_every_feature_is_there(known: Architecture) -> None:
    assert known.level([]) == ("v5" if known.name == "arm" else "")
    for variant in known.features:
        features = [one for held in known.runs(variant) for one in known.features[held]]
        level = known.level(features)
        assert variant in known.runs(level)
        for missing in known.features[variant]:
            assert variant not in known.runs(known.level([one for one in features if one != missing]))
    undetectable = set(known.variants) - set(known.features)
    everything = [one for needs in known.features.values() for one in needs]
    assert known.level(everything) not in undetectable
