"""The choice among candidates, as tables: a device, what exists, what is taken and how."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.reference import parse_reference
from polyarch.selection.select import select
from polyarch.selection.types import Candidate, Selection, Target
from polyarch_platforms.compatibility import Cpu, asked, vector
from polyarch_platforms.device import Emulation
from polyarch_platforms.platform import Platform, parse

REFERENCE = parse_reference("app:1.0")


def entry(text: str) -> Platform | None:
    """An index entry's platform; `linux/arm/-` states no variant, `-` no platform at all."""
    if text == "-":
        return None
    if text.endswith("/-"):
        system, architecture, _ = text.split("/")
        return Platform(system, architecture)
    return parse(text)


def candidate(text: str, number: int) -> Candidate:
    digest = digest_of(f"{text} {number}".encode())
    return Candidate(
        entry(text), Descriptor("application/vnd.oci.image.manifest.v1+json", digest, 1), REFERENCE, "index"
    )


def emulation(text: str) -> Emulation:
    platform = parse(text)
    return Emulation(platform, f"/usr/bin/qemu-{platform.architecture}", "private")


def target(name: str, cpu: Cpu, emulated: str = "", *, own: str = "", here: bool = True) -> Target:
    """`own` is what the device's own programs are, where that is not simply its architecture or arm variant."""
    platform = (
        parse(own) if own else Platform("linux", cpu.architecture, cpu.variant if cpu.architecture == "arm" else "")
    )
    return Target(name, platform, vector(cpu), tuple(emulation(text) for text in emulated.split()), here)


def named(text: str) -> Target:
    return Target(text, parse(text), asked(parse(text)))


TARGETS = {
    "pi-zero": target("pi-zero", Cpu("arm", "v6"), here=False),
    "pi-2": target("pi-2", Cpu("arm", "v7"), here=False),
    "pi-3-32bit-userland": target("pi-3", Cpu("arm64", "v8", True, None, 4096, 32), own="linux/arm/v7", here=False),
    "pi-4": target("pi-4", Cpu("arm64", "v8", True, None, 4096, 64), here=False),
    "pi-4-unknown": target("pi-4-unknown", Cpu("arm64", "v8", None, None, 4096, 64), here=False),
    "pi-5": target("pi-5", Cpu("arm64", "v8.2", True, None, 16384, 64), here=False),
    "pi-5-4k": target("pi-5-4k", Cpu("arm64", "v8.2", True, None, 4096, 64), here=False),
    "server-arm": target("server-arm", Cpu("arm64", "v9", False, None, 4096, 64), "linux/arm/v7"),
    "x86": target("x86", Cpu("amd64", "v3", None, True, 4096, 64), "linux/arm64 linux/arm/v7 linux/s390x"),
    "x86-v1": target("x86-v1", Cpu("amd64", "", None, True, 4096, 64), here=False),
    "x86-no-386": target("x86-no-386", Cpu("amd64", "v2", None, False, 4096, 64), "linux/386"),
    "x86-bare": target("x86-bare", Cpu("amd64", "v2", None, True, 4096, 64)),
    "i686": target("i686", Cpu("386"), here=False),
    "riscv": target("riscv", Cpu("riscv64", "rva22u64"), here=False),
    "riscv-old": target("riscv-old", Cpu("riscv64", "rva20u64"), here=False),
    "power9": target("power9", Cpu("ppc64le", "power9"), here=False),
    "s390x": target("s390x", Cpu("s390x"), here=False),
    "asked-v7": named("linux/arm/v7"),
    "asked-v6": named("linux/arm/v6"),
    "asked-arm64": named("linux/arm64"),
    "asked-v3": named("linux/amd64/v3"),
}

HUB = "linux/amd64 linux/arm/v5 linux/arm/v7 linux/arm64 linux/386 linux/ppc64le linux/riscv64 linux/s390x"

# device, what exists, what is taken ("" for nothing), how
CHOICES = [
    ("x86", HUB, "linux/amd64", "exact"),
    ("x86-v1", HUB, "linux/amd64", "exact"),
    ("i686", HUB, "linux/386", "exact"),
    ("pi-zero", HUB, "linux/arm/v5", "compatible"),
    ("pi-2", HUB, "linux/arm/v7", "exact"),
    ("pi-3-32bit-userland", HUB, "linux/arm/v7", "exact"),
    ("pi-4", HUB, "linux/arm64", "exact"),
    ("pi-5", HUB, "linux/arm64", "exact"),
    ("pi-5-4k", HUB, "linux/arm64", "exact"),
    ("server-arm", HUB, "linux/arm64", "exact"),
    ("riscv", HUB, "linux/riscv64", "exact"),
    ("power9", HUB, "linux/ppc64le", "exact"),
    ("s390x", HUB, "linux/s390x", "exact"),
    ("asked-v7", HUB, "linux/arm/v7", "exact"),
    ("asked-v6", HUB, "linux/arm/v5", "compatible"),
    ("asked-arm64", HUB, "linux/arm64", "exact"),
    ("asked-v3", HUB, "linux/amd64", "compatible"),
    # v6 never takes v7
    ("pi-zero", "linux/arm/v7", "", ""),
    ("pi-zero", "linux/arm/v7 linux/arm/v6", "linux/arm/v6", "exact"),
    ("pi-zero", "linux/arm/v7 linux/arm/v5", "linux/arm/v5", "compatible"),
    ("pi-zero", "linux/arm64", "", ""),
    ("asked-v6", "linux/arm/v7 linux/arm64", "", ""),
    # an entry without a variant
    ("pi-2", "linux/arm/-", "linux/arm/-", "exact"),
    ("pi-2", "linux/arm/- linux/arm/v7", "linux/arm/v7", "exact"),
    ("pi-2", "linux/arm/v6 linux/arm/-", "linux/arm/-", "exact"),
    ("pi-zero", "linux/arm/-", "linux/arm/-", "compatible"),
    ("pi-zero", "linux/arm/- linux/arm/v5", "linux/arm/v5", "compatible"),
    ("pi-4", "linux/arm/-", "linux/arm/-", "compatible"),
    ("pi-4", "linux/arm64/-", "linux/arm64", "exact"),
    ("pi-5", "linux/arm/-", "", ""),
    # arm on arm64 needs a proof and 4K pages
    ("pi-4", "linux/arm/v7", "linux/arm/v7", "compatible"),
    ("pi-4", "linux/arm/v7 linux/arm/v8", "linux/arm/v8", "compatible"),
    ("pi-4", "linux/arm/v5", "linux/arm/v5", "compatible"),
    ("pi-4-unknown", "linux/arm/v7", "", ""),
    ("pi-5", "linux/arm/v7", "", ""),
    ("pi-5-4k", "linux/arm/v7", "linux/arm/v7", "compatible"),
    ("server-arm", "linux/arm/v7", "linux/arm/v7", "emulated"),
    ("server-arm", "linux/arm/v7 linux/arm64", "linux/arm64", "exact"),
    ("asked-arm64", "linux/arm/v7", "", ""),
    ("pi-3-32bit-userland", "linux/arm64", "linux/arm64", "compatible"),
    ("pi-3-32bit-userland", "linux/arm64 linux/arm/v6", "linux/arm/v6", "compatible"),
    # arm64 levels
    ("pi-5", "linux/arm64 linux/arm64/v8.1", "linux/arm64/v8.1", "exact"),
    ("pi-5", "linux/arm64/v8.2 linux/arm64", "linux/arm64/v8.2", "exact"),
    ("pi-4", "linux/arm64/v8.2", "", ""),
    ("pi-4", "linux/arm64/v8.2 linux/arm64/v8", "linux/arm64", "exact"),
    ("server-arm", "linux/arm64/v9.0 linux/arm64", "linux/arm64/v9", "exact"),
    # amd64 levels
    ("x86", "linux/amd64 linux/amd64/v2 linux/amd64/v3 linux/amd64/v4", "linux/amd64/v3", "exact"),
    ("x86", "linux/amd64/v4 linux/amd64/v2", "linux/amd64/v2", "exact"),
    ("x86", "linux/amd64/v4", "", ""),
    ("x86-v1", "linux/amd64/v2", "", ""),
    ("x86-v1", "linux/amd64/v2 linux/386", "linux/386", "compatible"),
    # 386 on amd64 needs a proof
    ("x86", "linux/386", "linux/386", "compatible"),
    ("x86-no-386", "linux/386", "linux/386", "emulated"),
    ("i686", "linux/amd64", "", ""),
    # emulation only where nothing native exists, cheapest first
    ("x86", "linux/arm64", "linux/arm64", "emulated"),
    ("x86", "linux/arm/v7 linux/arm64", "linux/arm64", "emulated"),
    ("x86", "linux/s390x linux/arm/v6", "linux/arm/v6", "emulated"),
    ("x86", "linux/s390x linux/386", "linux/386", "compatible"),
    ("x86", "linux/riscv64", "", ""),
    ("x86-bare", "linux/arm64", "", ""),
    # levels of the rest
    ("riscv", "linux/riscv64/rva23u64 linux/riscv64/rva20u64", "linux/riscv64/rva20u64", "exact"),
    ("riscv-old", "linux/riscv64/rva22u64", "", ""),
    ("power9", "linux/ppc64le/power10 linux/ppc64le/power8", "linux/ppc64le/power8", "exact"),
    ("power9", "linux/ppc64le/power9 linux/ppc64le", "linux/ppc64le/power9", "exact"),
    # duplicates, nothing, other systems, no platform, unknown words
    ("pi-4", "linux/arm64 linux/arm64", "linux/arm64", "exact"),
    ("pi-4", "", "", ""),
    ("x86", "windows/amd64", "", ""),
    ("x86", "windows/amd64 linux/amd64", "linux/amd64", "exact"),
    ("x86", "-", "", ""),
    ("x86", "- linux/386", "linux/386", "compatible"),
    ("x86", "linux/sparc64", "", ""),
    ("pi-4", "linux/arm64/v99", "", ""),
]


def chosen(selection: Selection) -> tuple[str, str]:
    if selection.chosen is None:
        return "", ""
    platform = selection.chosen.candidate.platform
    assert platform is not None
    text = str(platform)
    unlabelled = platform.architecture == "arm" and not platform.variant
    return text + ("/-" if unlabelled else ""), str(selection.chosen.match)


@pytest.mark.parametrize(("device", "exist", "wanted", "match"), CHOICES)
def test_choice(device: str, exist: str, wanted: str, match: str) -> None:
    candidates = [candidate(text, i) for i, text in enumerate(exist.split())]
    selection = select(candidates, TARGETS[device])
    assert chosen(selection) == (wanted, match)
    refused = [verdict.refused for verdict in selection.verdicts]
    assert refused.count(None) == (1 if wanted else 0)
    assert all(reason is None or (reason and "\n" not in reason) for reason in refused)


def test_the_first_of_two_equal_entries_wins() -> None:
    first, second = candidate("linux/arm64", 0), candidate("linux/arm64", 1)
    selection = select([first, second], TARGETS["pi-4"])
    assert selection.chosen is not None
    assert selection.chosen.candidate == first
    assert selection.verdicts[1].refused == "another entry for linux/arm64 stands before it"


# device, what exists, the candidate looked at, a part of the sentence
REASONS = [
    ("x86", "windows/amd64 linux/amd64", 0, "it is for windows, not for linux"),
    ("pi-zero", "linux/arm/v7 linux/arm/v6", 0, "needs linux/arm/v7, and pi-zero runs linux/arm/v6 at most"),
    ("x86", "linux/amd64 linux/arm64", 1, "would need emulation (/usr/bin/qemu-arm64), and linux/amd64 runs natively"),
    ("x86", "linux/amd64 linux/386", 1, "it would run, but linux/amd64 is the better variant"),
    ("x86", "linux/s390x linux/arm64", 0, "linux/arm64 is emulated at less cost"),
    ("x86", "linux/amd64 linux/riscv64", 1, "does not run riscv64 programs, and there is no emulator for them here"),
    ("pi-2", "linux/arm/v7 linux/arm64", 1, "pi-2 does not run arm64 programs"),
    ("pi-zero", "linux/arm/v6 linux/arm/-", 1, "states no variant"),
    ("x86", "- linux/amd64", 0, "neither the index nor its config says"),
]


@pytest.mark.parametrize(("device", "exist", "index", "part"), REASONS)
def test_reason(device: str, exist: str, index: int, part: str) -> None:
    selection = select([candidate(text, i) for i, text in enumerate(exist.split())], TARGETS[device])
    assert part in (selection.verdicts[index].refused or "")


def test_emulation_that_is_not_allowed_is_refused_by_name() -> None:
    selection = select([candidate("linux/arm64", 0)], TARGETS["x86"], "never")
    assert selection.chosen is None
    assert selection.verdicts[0].refused == (
        "linux/arm64 would need emulation (/usr/bin/qemu-arm64), which is not allowed"
    )


@pytest.mark.parametrize(("device", "lacks"), [("x86-bare", True), ("pi-2", False)])
def test_an_emulator_is_lacking_only_on_this_machine(device: str, lacks: bool) -> None:
    selection = select([candidate("linux/s390x", 0)], TARGETS[device])
    assert selection.verdicts[0].lacks_emulator is lacks


def test_an_unproven_entry_is_tried_before_emulation_and_after_all_proven_ones() -> None:
    device = Target("zero", parse("linux/arm/v6"), vector(Cpu("arm", "v6")), (emulation("linux/arm64"),))
    candidates = [candidate(text, i) for i, text in enumerate(["linux/arm64", "linux/arm/-", "linux/arm/v5"])]
    ranked = select(candidates, device).ranked
    assert [candidates.index(verdict.candidate) for verdict in ranked] == [2, 1, 0]
    assert [verdict.unproven for verdict in ranked] == [False, True, False]


ANY = st.sampled_from(
    [*HUB.split(), "linux/arm/v6", "linux/arm/-", "linux/arm64/v8.2", "linux/amd64/v3", "windows/amd64", "-"]
)


@given(st.lists(ANY, max_size=8), st.sampled_from(sorted(TARGETS)), st.sampled_from(["auto", "never"]))
def test_the_same_inputs_give_the_same_answer_and_every_other_candidate_a_reason(
    exist: list[str], device: str, policy: str
) -> None:
    candidates = [candidate(text, i) for i, text in enumerate(exist)]
    selections = [select(candidates, TARGETS[device], policy) for _ in range(2)]  # type: ignore[arg-type]
    assert selections[0] == selections[1]
    for verdict in selections[0].verdicts:
        is_chosen = selections[0].chosen is not None and verdict.candidate == selections[0].chosen.candidate
        assert is_chosen == (verdict.refused is None)
        assert policy == "auto" or verdict.match != "emulated"


@given(st.permutations(HUB.split()), st.sampled_from(sorted(TARGETS)))
def test_the_order_of_different_entries_does_not_matter(exist: list[str], device: str) -> None:
    usual = select([candidate(text, 0) for text in HUB.split()], TARGETS[device])
    other = select([candidate(text, 0) for text in exist], TARGETS[device])
    assert chosen(usual) == chosen(other)


def test_the_table_has_more_than_sixty_rows_and_no_row_twice() -> None:
    assert len(CHOICES) + len(REASONS) >= 60
    assert not [a for a, b in itertools.pairwise(sorted(CHOICES)) if a == b]
