"""Reading a probe's answer: from a terminal, cut, of another version, hostile."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyarch_platforms.errors import FactsError
from polyarch_platforms.facts import MAX_TEXT, ElfHead, Facts, parse_facts
from polyarch_platforms.host import detect
from support.probe_answers import answer

GENUINE = sorted((Path(__file__).parent / "facts").glob("*.txt"))
ENTRY = "binfmt a:enabled\nbinfmt a:interpreter /q\nbinfmt a:flags: "
PI_3 = (Path(__file__).parent / "facts" / "pi-3-b-64bit-kernel-32bit-userland.txt").read_text()


def test_every_fact_of_a_genuine_answer() -> None:
    arm = ElfHead(32, "little", 40)
    assert parse_facts(PI_3) == Facts(
        os="Linux",
        release="6.1.0-50-arm64",
        machine="aarch64",
        userland=arm,
        process=arm,
        executable="/bin/busybox",
        page_size=4096,
        hwcap2=0x1F,
        cpuinfo=(
            ("CPU architecture", "8"),
            ("CPU implementer", "0x41"),
            ("CPU part", "0xd03"),
            ("Features", "fp asimd evtstrm aes pmull sha1 sha2 crc32 cpuid"),
        ),
        dt_model="Raspberry Pi 3 Model B",
        dt_compatible=("raspberrypi,3-model-b", "brcm,bcm2837"),
        linux32=True,
    )


def test_every_other_fact() -> None:
    facts = parse_facts(
        answer(
            "exe /usr/bin/dash",
            "libc musl",
            "libc musl",
            "dt-revision 00 c0 31 11",
            "linux32 refused",
            "aarch32-el0 0-3",
            "config CONFIG_IA32_EMULATION=y",
            "config CONFIG_IA32_EMULATION_DEFAULT_DISABLED is not set",
            "parameter ia32_emulation=off",
            "vsyscall32 no",
            "ran-386 yes",
            "inside docker",
            "inside docker",
            "inside kubernetes",
            "uid-map 0 1000 1",
            "binfmt qemu-arm:enabled",
            "binfmt qemu-arm:interpreter /usr/bin/qemu-arm",
            "binfmt status:enabled",
            uname="Linux 5.15.90.1-microsoft-standard-WSL2 x86_64",
            userland="amd64",
            page=65536,
            hwcap2=2,
        )
    )
    assert facts.libc == "musl"
    assert facts.dt_revision == "00c03111"
    assert facts.linux32 is False
    assert facts.aarch32_el0 == "0-3"
    assert facts.kernel_config[0] == "CONFIG_IA32_EMULATION=y"
    assert facts.ia32_parameter == "off"
    assert facts.vsyscall32 is False
    assert facts.ran_386 is True
    assert facts.inside == ("docker", "kubernetes")
    assert facts.in_user_namespace
    assert not facts.in_chroot
    assert facts.page_size == 65536
    assert facts.hwcap2 == 2
    assert facts.binfmt == (
        ("qemu-arm", ("enabled", "interpreter /usr/bin/qemu-arm")),
        ("status", ("enabled",)),
    )
    assert facts.emulator == ""


@pytest.mark.parametrize(
    ("userland", "page", "hwcap2"),
    [("s390x", 4096, 0x12), ("ppc64le", 65536, 0x80800000), ("arm", 4096, 0x1F), ("loong64", 16384, 0)],
)
def test_the_auxiliary_vector_is_read_in_the_userlands_size_and_byte_order(
    userland: str, page: int, hwcap2: int
) -> None:
    facts = parse_facts(answer(uname="Linux 6.1 x", userland=userland, page=page, hwcap2=hwcap2))
    assert (facts.page_size, facts.hwcap2) == (page, hwcap2)


@pytest.mark.parametrize("path", GENUINE, ids=lambda path: path.stem)
def test_a_login_may_surround_the_answer_and_a_terminal_end_its_lines(path: Path) -> None:
    text = path.read_text()
    plain = parse_facts(text)
    greeting = "Welcome to Raspbian!\n\npolyarch-probe is asked at night\nLast login: …\n"
    assert parse_facts(greeting + text + "logout\n") == plain
    assert parse_facts(text.replace("\n", "\r\n")) == plain


@pytest.mark.parametrize("path", GENUINE, ids=lambda path: path.stem)
def test_an_answer_cut_anywhere_is_told(path: Path) -> None:
    text = path.read_text()
    for length in range(0, text.rindex("end") + 2, 17):
        with pytest.raises(FactsError):
            parse_facts(text[:length])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "no answer"),
        ("sh: 1: Syntax error\n", "no answer"),
        ("polyarch-probe 2\nend\n", "version '2'"),
        ("polyarch-probe 12\nend\n", "version '12'"),
        ("polyarch-probe \x1b[31m\nend\n", "no answer"),
        ("polyarch-probe 1\n", "cut short"),
        ("polyarch-probe 1\nuname Linux 6.1 x86_64\n", "cut short"),
        ("polyarch-probe 1\nend\n", "'uname' is missing"),
        ("polyarch-probe 1\nuname Linux\nend\n", "'uname' is missing"),
        ("polyarch-probe 1\nuname " + "x" * 20_000 + "\nend\n", "a line of"),
        ("x" * (MAX_TEXT + 1), "at most"),
    ],
)
def test_what_is_no_answer(text: str, says: str) -> None:
    with pytest.raises(FactsError) as caught:
        parse_facts(text)
    assert says in caught.value.message
    assert caught.value.message.isprintable()
    assert caught.value.hint


@pytest.mark.parametrize(
    "line",
    [
        "elf-user 7f 45 4c",
        "elf-user zz",
        "elf-user " + "00 " * 64,
        "elf-user 7f 45 4c 46 07 09 01 00 00 00 00 00 00 00 00 00 02 00 b7 00",
        "auxv 00000006",
        "auxv not hexadecimal at all",
        "auxv ffffffff ffffffff ffffffff",
        "cpu",
        "cpu CPU part\t: 0xzz",
        "cpu CPU implementer : " + "9" * 5000,
        "dt-revision zz",
        f"{ENTRY}\nbinfmt a:offset -9\nbinfmt a:magic 7f45",
        f"{ENTRY}\nbinfmt a:offset 0\nbinfmt a:magic 7f45\nbinfmt a:mask ff",
        "dt-model \x1b[2J\x00\ud800",
    ],
)
def test_a_broken_fact_is_an_unknown_fact(line: str) -> None:
    device = detect(parse_facts(answer(line, uname="Linux 6.1 aarch64")))
    assert str(device.platform) == "linux/arm64"
    assert device.emulated == ()
    assert device.to_json().isprintable()


@given(st.text(max_size=200))
def test_any_text_is_facts_or_a_facts_error(text: str) -> None:
    for attempt in (text, f"polyarch-probe 1\n{text}\nend"):
        with contextlib.suppress(FactsError):
            assert detect(parse_facts(attempt)).native


_LINES = [line for path in GENUINE for line in path.read_text().splitlines()]
_NAMES = sorted({line.split(" ")[0] for line in _LINES})


@given(
    st.lists(
        st.sampled_from(_LINES) | st.tuples(st.sampled_from(_NAMES), st.text(max_size=30)).map(" ".join), max_size=25
    )
)
def test_any_mixture_of_facts_is_a_device_or_a_facts_error(lines: list[str]) -> None:
    try:
        facts = parse_facts("\n".join(["polyarch-probe 1", "uname Linux 6.1 aarch64", *lines, "end"]))
        device = detect(facts)
    except FactsError:
        return
    assert device.native
    assert device.to_json().isprintable()


# One of each kind of proof, for and against.
_KINDS = (
    "pi-5-16k pi-4-b-64bit wsl1-arm64 rock-5b graviton4 apple-m1-vm zen3 skylake-x core2-386-userland qemu-user-arm64"
)
_TEXTS = [(Path(__file__).parent / "facts" / f"{name}.txt").read_text() for name in _KINDS.split()]
# What a level of each kind cannot be without: one feature of many, named here a second time.
_MARKS = {"amd64/v2": "sse4_2", "amd64/v3": "avx2", "amd64/v4": "avx512f", "arm64/v8.1": "atomics", "arm64/v9": "sve2"}


@st.composite
def _mutated(draw: st.DrawFn) -> str:
    """A genuine answer with lines left out, brought in from others, or with characters changed."""
    lines = draw(st.sampled_from(_TEXTS)).splitlines()
    for _ in range(draw(st.integers(1, 4))):
        place = draw(st.integers(0, len(lines) - 1))
        how = draw(st.sampled_from(("drop", "bring", "change", "cut")))
        if how == "bring":
            lines.insert(place, draw(st.sampled_from(_LINES)))
        elif how == "change" and lines[place]:
            at = draw(st.integers(0, len(lines[place]) - 1))
            lines[place] = lines[place][:at] + draw(st.characters()) + lines[place][at + 1 :]
        elif how == "cut":
            lines[place] = lines[place][: draw(st.integers(0, len(lines[place])))]
        elif len(lines) > 1:
            del lines[place]
    return "\n".join(lines)


@given(_mutated())
@settings(max_examples=400)
def test_a_mutated_answer_claims_nothing_without_proof(text: str) -> None:
    try:
        facts = parse_facts(text)
        device = detect(facts)
    except FactsError:
        return
    native = {str(one).removeprefix("linux/") for one in device.native}
    kinds = {one.architecture for one in device.native}
    assert len(kinds) == 1 or kinds in ({"arm64", "arm"}, {"amd64", "386"})
    own_32bit = facts.userland is not None and facts.userland.machine in (3, 40)
    if kinds == {"arm64", "arm"} and not own_32bit:
        assert facts.linux32 or (facts.linux32 is None and facts.aarch32_el0)
        assert facts.page_size == 4096
        assert not facts.emulator
    if kinds == {"amd64", "386"} and not own_32bit:
        assert facts.ran_386 or "CONFIG_IA32_EMULATION=y" in facts.kernel_config
        assert not facts.emulator
    features = [value.split() for key in ("flags", "Features") for value in facts.cpu(key)]
    for level, mark in _MARKS.items():
        if level in native:
            assert not facts.emulator
            assert features
            assert all(mark in line for line in features), level
