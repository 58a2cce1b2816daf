"""The table's lines and entries, and which one takes a program. The kernel's side of it: test_binfmt_kernel."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.testing.debian_busybox import debian_busybox
from polyarch_platforms import architecture, binfmt
from polyarch_platforms.binfmt import Registration
from polyarch_platforms.errors import BinfmtError
from polyarch_platforms.tiny import tiny_program
from support.elf_files import elf_file

ARCHITECTURES = architecture.load()
ARM64 = ARCHITECTURES["arm64"]
QEMU = "/usr/bin/qemu-aarch64-static"


def entry_for(name: str) -> Registration:
    return binfmt.registration(ARCHITECTURES[name], f"/usr/bin/qemu-{name}", "F")


def test_the_line_for_arm64() -> None:
    assert binfmt.register_line(ARM64, QEMU, "FP") == (
        rb":qemu-aarch64:M:0"
        rb":\x7f\x45\x4c\x46\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x02\x00\xb7\x00"
        rb":\xff\xff\xff\xff\xff\xff\xff\xfc\x00\x00\x00\x00\x00\x00\x00\x00\xfe\xff\xff\xff"
        rb":/usr/bin/qemu-aarch64-static:FP"
    )


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_line_is_read_back_as_it_was_written(name: str) -> None:
    entry = binfmt.registration(ARCHITECTURES[name], f"/usr/bin/qemu-{name}", "POCF", name=f"mine-{name}")
    assert binfmt.parse_line(binfmt.line(entry) + b"\n") == entry


@pytest.mark.parametrize(
    ("interpreter", "flags", "name", "said"),
    [
        ("/opt/a:b/qemu", "", None, "a full path without ':'"),
        ("/opt/a\nb/qemu", "", None, r"'/opt/a\\nb/qemu' cannot be an interpreter"),
        ("/opt/a\0b/qemu", "", None, "cannot be an interpreter"),
        ("qemu-aarch64", "", None, "a full path"),
        ("", "", None, "a full path"),
        ("/" + "q" * 127, "", None, "longer than 127 bytes"),
        ("/" + "é" * 64, "", None, "longer than 127 bytes"),
        (QEMU, "X", None, "'X' are no flags"),
        (QEMU, "", "a/b", "'a/b' cannot be the name"),
        (QEMU, "", "a:b", "cannot be the name"),
        (QEMU, "", "..", "cannot be the name"),
        (QEMU, "", "register", "cannot be the name"),
        (QEMU, "", "a\nb", "cannot be the name"),
    ],
)
def test_what_no_line_can_hold(interpreter: str, flags: str, name: str | None, said: str) -> None:
    with pytest.raises(BinfmtError, match=said) as caught:
        binfmt.register_line(ARM64, interpreter, flags, name)
    assert "\n" not in caught.value.message


def test_the_longest_interpreter() -> None:
    assert binfmt.register_line(ARM64, "/" + "q" * 126, "").endswith(b"q:")


@pytest.mark.parametrize(
    ("magic", "mask", "offset"),
    [
        (b"", b"", 0),
        (b"ab", b"\xff", 0),
        (b"ab", b"\xff\xff", 127),
        (b"ab", b"\xff\xff", -1),
        (b"a" * 129, b"b" * 129, 0),
    ],
)
def test_a_magic_must_lie_in_the_first_128_bytes(magic: bytes, mask: bytes, offset: int) -> None:
    with pytest.raises(BinfmtError, match="first 128 bytes"):
        binfmt.line(Registration("x", "/x", "", magic, mask, offset))


def test_the_longest_magic_fits_into_a_line() -> None:
    entry = Registration("x" * 100, "/" + "q" * 126, "POCF", b"a" * 128, b"\xff" * 128)
    assert len(binfmt.line(entry)) <= 1920


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b":",
        b"\n",
        b":name:M:0:abc",
        b":name:E::py::/usr/bin/python3:",
        b":name:M:1000:a:b:/x:",
        b":name:M:-1:a:b:/x:",
        b":name:M:0:a:bb:/x:",
        b":name:M:0::b:/x:",
        b":name:M:0:a:b:x:",
        b":name:M:0:a:b:/x:Q",
        b":name:M:0:a:b:/x:F:more",
    ],
)
def test_other_lines_are_refused(text: bytes) -> None:
    with pytest.raises(BinfmtError):
        binfmt.parse_line(text)


def test_lines_of_other_makers() -> None:
    script = binfmt.parse_line(rb":qemu-arm:M::\x7fELF\x01:\xff\xff\xff\xff\xFF:/usr/bin/qemu-arm:OCF" + b"\n")
    assert script == Registration("qemu-arm", "/usr/bin/qemu-arm", "OCF", b"\x7fELF\x01", b"\xff" * 5)
    assert binfmt.parse_line(b",WSLInterop,M,,MZ,,/init,PF").mask == b"\xff\xff"


@given(st.binary(max_size=60))
def test_any_line(data: bytes) -> None:
    for text in (data, b":name:M:" + data, b":name:M:0:a:b:/" + data):
        try:
            entry = binfmt.parse_line(text)
        except BinfmtError:
            continue
        assert binfmt.parse_line(binfmt.line(entry)) == entry


ENTRY = """\
enabled
interpreter /usr/libexec/qemu-binfmt/aarch64-binfmt-P
flags: POF
offset 0
magic 7f454c460201010000000000000000000200b700
mask ffffffffffffff00fffffffffffffffffeffffff
"""


def test_what_the_kernel_shows_of_an_entry() -> None:
    entry = binfmt.parse_entry("qemu-aarch64", ENTRY)
    assert entry == Registration(
        name="qemu-aarch64",
        interpreter="/usr/libexec/qemu-binfmt/aarch64-binfmt-P",
        flags="POF",
        magic=bytes.fromhex("7f454c460201010000000000000000000200b700"),
        mask=bytes.fromhex("ffffffffffffff00fffffffffffffffffeffffff"),
    )
    assert entry.fixed


def test_an_entry_switched_off_without_mask_at_an_offset() -> None:
    entry = binfmt.parse_entry("x", "disabled\ninterpreter /x y\nflags: \noffset 5\nmagic 4d5a\n")
    assert entry == Registration("x", "/x y", "", b"MZ", b"\xff\xff", offset=5, enabled=False)
    assert not entry.fixed


@pytest.mark.parametrize(
    "text",
    ["", "enabled\n", "enabled\ninterpreter /p\nflags: \nextension .py\n", ENTRY.replace("7f4", "7g4")],
)
def test_other_entries_are_passed_over(text: str) -> None:
    assert binfmt.parse_entry("x", text) is None


def table(folder: Path, **entries: str) -> Path:
    for name, text in (("register", ""), ("status", "enabled\n"), *entries.items()):
        (folder / name).write_text(text)
    return folder


def test_the_table_of_a_folder(tmp_path: Path) -> None:
    root = table(tmp_path, **{"qemu-aarch64": ENTRY, "python3.11": "enabled\ninterpreter /p\nflags: \nextension .py\n"})
    assert binfmt.mounted(root)
    assert binfmt.table_enabled(root)
    assert not binfmt.empty(root)
    assert [entry.name for entry in binfmt.registrations(root)] == ["qemu-aarch64"]
    (root / "status").write_text("disabled\n")
    assert not binfmt.table_enabled(root)


def test_where_nothing_is_mounted_there_is_nothing(tmp_path: Path) -> None:
    assert not binfmt.mounted(tmp_path)
    assert not binfmt.table_enabled(tmp_path)
    assert binfmt.registrations(tmp_path) == ()
    with pytest.raises(BinfmtError, match="cannot register 'qemu-aarch64'") as caught:
        binfmt.register(binfmt.register_line(ARM64, QEMU, ""), tmp_path)
    assert caught.value.errno == errno.ENOENT


def test_an_unreadable_table_is_told(tmp_path: Path) -> None:
    (table(tmp_path) / "qemu-arm").mkdir()
    with pytest.raises(BinfmtError, match="cannot read") as caught:
        binfmt.registrations(tmp_path)
    assert caught.value.errno == errno.EISDIR


@pytest.mark.parametrize("name", ["..", "register", "status", "a/b", ""])
def test_only_entries_can_be_taken_away_or_switched(tmp_path: Path, name: str) -> None:
    root = table(tmp_path)
    for change in (binfmt.unregister, binfmt.enable):
        with pytest.raises(BinfmtError, match="is no entry"):
            change(name, root=root)
    assert (root / "status").read_text() == "enabled\n"


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_an_architectures_entry_takes_its_programs_and_no_others(name: str) -> None:
    entry = entry_for(name)
    assert binfmt.matching((entry,), ARCHITECTURES[name]) == entry
    for other, known in ARCHITECTURES.items():
        assert entry.matches(tiny_program(known)) == (other == name)
        assert (binfmt.matching((entry,), known) is not None) == (other == name)


@pytest.mark.parametrize(
    ("debian", "name"),
    [
        ("amd64", "amd64"),
        ("arm64", "arm64"),
        ("armhf", "arm"),
        ("armel", "arm"),
        ("i386", "386"),
        ("s390x", "s390x"),
        ("ppc64el", "ppc64le"),
    ],
)
def test_real_programs_go_to_their_entry(foreign_busybox: Callable[[str], Path], debian: str, name: str) -> None:
    start = foreign_busybox(debian).read_bytes()[:256]
    assert [one for one in ARCHITECTURES if entry_for(one).matches(start)] == [name]


def test_a_real_mips64el_program_goes_to_its_entry(test_cache: Path) -> None:
    start = debian_busybox(("mips64el",), test_cache)["mips64el"].read_bytes()[:256]
    assert [one for one in ARCHITECTURES if entry_for(one).matches(start)] == ["mips64le"]


@pytest.mark.parametrize(
    "program",
    [
        elf_file(8, bits=32),  # MIPS o32
        elf_file(8, bits=32, flags=0x20),  # MIPS n32
        elf_file(8, byte_order="big"),
        elf_file(21, byte_order="big"),
        elf_file(62, bits=32),  # x32
        elf_file(62, os_abi=9),  # FreeBSD
        elf_file(3, bits=32, os_abi=9),
        elf_file(3, bits=32, byte_order="big"),
        elf_file(62, kind=1),  # an object file
        elf_file(62, kind=4),  # a core dump
        b"#!/bin/sh\n",
        b"MZ" + bytes(62),
        b"",
        b"\x7fELF",
    ],
)
def test_what_belongs_to_no_entry(program: bytes) -> None:
    assert [name for name in ARCHITECTURES if entry_for(name).matches(program)] == []


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_position_independent_and_gnu_programs_are_taken_too(name: str) -> None:
    known = ARCHITECTURES[name]
    for os_abi in (0, 3):
        for kind in (2, 3):
            program = elf_file(
                known.elf_machine, bits=known.elf_class, byte_order=known.elf_data, os_abi=os_abi, kind=kind
            )
            assert entry_for(name).matches(program)


def test_the_first_enabled_entry_in_the_order_of_the_kernel_serves() -> None:
    off = Registration("off", "/off", "", *ARM64.magic[0], enabled=False)
    first = Registration("first", "/first", "", *ARM64.magic[0])
    second = Registration("second", "/second", "", *ARM64.magic[0])
    assert binfmt.matching((off, entry_for("arm"), first, second), ARM64) == first
    assert binfmt.matching((off, entry_for("arm")), ARM64) is None


def test_an_entry_for_fixed_addresses_only_does_not_serve() -> None:
    magic, mask = ARM64.magic[0]
    narrow = Registration("narrow", "/narrow", "", magic, mask[:16] + b"\xff\xff" + mask[18:])
    assert binfmt.matching((narrow,), ARM64) is None


def test_entries_are_the_same_whatever_the_order_of_their_flags() -> None:
    entry = entry_for("arm64")
    assert Registration("n", "/i", "POF", b"a", b"b").same_as(Registration("n", "/i", "FPO", b"a", b"b", enabled=False))
    assert not entry.same_as(binfmt.registration(ARM64, "/usr/bin/qemu-arm64", "FP"))
    assert not entry.same_as(binfmt.registration(ARM64, "/elsewhere", "F"))
