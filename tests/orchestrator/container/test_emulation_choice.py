"""The choice of a way to run, and what is said where there is none."""

from __future__ import annotations

import errno
import os
from collections.abc import Collection
from pathlib import Path

import pytest

from polyarch.container import emulation
from polyarch.container.emulation import (
    Arrangement,
    exit_code,
    explicit_words,
    find_emulators,
    script_words,
    way_to_run,
)
from polyarch.container.refusals import no_private_binfmt, no_user_namespace
from polyarch.errors import HostError
from polyarch_platforms import architecture, binfmt
from polyarch_platforms.device import Device
from polyarch_platforms.platform import parse
from polyarch_platforms.qemu import QemuBinary, Works
from polyarch_platforms.tiny import tiny_program


@pytest.mark.parametrize(
    ("platform", "native", "registered", "static", "private", "way"),
    [
        ("amd64", ["amd64"], [], [], False, "native"),
        ("386", ["amd64", "386"], ["386"], ["386"], True, "native"),
        ("amd64/v3", ["amd64"], ["amd64"], ["amd64"], True, "native"),
        ("arm64", ["amd64"], ["arm64"], ["arm64"], True, "private"),
        ("arm64", ["amd64"], ["arm64"], ["arm64"], False, "registered"),
        ("arm64", ["amd64"], ["arm64"], [], True, "registered"),
        ("arm64", ["amd64"], ["arm64"], [], False, "registered"),
        ("arm64", ["amd64"], ["arm"], ["arm64"], True, "private"),
        ("arm/v5", ["amd64"], [], ["arm"], True, "private"),
        ("amd64", ["arm64", "arm"], [], ["amd64"], True, "private"),
        ("arm64", ["amd64"], ["arm"], ["arm64"], False, "explicit"),
    ],
)
def test_ways(
    platform: str,
    native: Collection[str],
    registered: Collection[str],
    static: Collection[str],
    private: bool,
    way: str,
) -> None:
    assert way_to_run(parse(platform), native, registered, static, private=private) == way


@pytest.mark.parametrize("private", [True, False])
@pytest.mark.parametrize("static", [[], ["arm"]])
def test_no_way(static: Collection[str], private: bool) -> None:
    with pytest.raises(HostError, match="no static QEMU for arm64") as caught:
        way_to_run(parse("arm64"), ["amd64"], [], static, private=private)
    assert caught.value.hint == "apt install qemu-user-static"
    assert caught.value.exit_code == 8


class Source:
    """Has emulators for some architectures, static or not."""

    def __init__(self, **static: bool) -> None:
        self._static = static

    def find(self, architecture: str) -> QemuBinary | None:
        if architecture not in self._static:
            return None
        return QemuBinary(Path(f"/qemu-{architecture}"), self._static[architecture])


def test_emulators_are_static_foreign_and_from_the_first_source_that_has_one() -> None:
    sources = [Source(arm64=False, arm=True, amd64=True), Source(arm64=True, s390x=True)]
    assert {name: str(each.path) for name, each in find_emulators(["amd64"], sources).items()} == {
        "arm": "/qemu-arm",
        "arm64": "/qemu-arm64",
        "s390x": "/qemu-s390x",
    }
    assert list(find_emulators(["amd64"], sources, ["arm64", "amd64", "riscv64"])) == ["arm64"]
    dynamic = find_emulators(["amd64"], sources, ["arm64"], dynamic=True)
    assert str(dynamic["arm64"].path) == "/qemu-arm64"
    assert not dynamic["arm64"].static


class Fetching(Source):
    """Has nothing at hand, and can fetch what `Source` has."""

    fetched: tuple[str, ...] = ()

    def find(self, architecture: str) -> QemuBinary | None:
        return None

    def offers(self, architecture: str) -> str:
        return "afar"

    def fetch(self, architecture: str) -> QemuBinary | None:
        self.fetched += (architecture,)
        return super().find(architecture)


def test_only_what_is_needed_and_not_at_hand_is_fetched() -> None:
    afar = Fetching(arm=True, arm64=True, s390x=False)
    sources = [afar, Source(arm64=True)]
    assert list(find_emulators(["amd64"], sources)) == ["arm64"]
    assert list(find_emulators(["amd64"], sources, ["arm64", "arm"], needed=["arm64"])) == ["arm64"]
    assert afar.fetched == ()
    assert list(find_emulators(["amd64"], sources, ["arm64", "arm", "s390x"], needed=["arm", "s390x"])) == [
        "arm64",
        "arm",
    ]
    assert afar.fetched == ("arm", "s390x")


class Untouchable:
    """Neither looked at nor asked."""

    def find(self, architecture: str) -> QemuBinary | None:
        raise AssertionError(f"asked for {architecture}")


def test_a_native_image_costs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def untouchable(*words: object) -> None:
        raise AssertionError("nothing is run for a native image")

    for name in ("registered_emulator", "private_refusal", "for_private"):
        monkeypatch.setattr(emulation, name, untouchable)
    device = Device("", parse("arm64"), (parse("arm64"), parse("arm/v7")))
    for platform in ("arm64", "arm/v7", "arm/v6", "arm64/v8.2"):
        assert emulation.arrange(parse(platform), device, [Untouchable()]) == Arrangement("native")


def test_an_arrangement_without_a_private_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(emulation, "registered_emulator", lambda name: None)
    monkeypatch.setattr(emulation, "private_refusal", lambda: HostError("no table here"))
    device = Device("", parse("amd64"), (parse("amd64"),))
    made = emulation.arrange(parse("s390x"), device, [Source(s390x=True, arm=True)])
    assert made.way == "explicit"
    assert made.emulators == {}
    assert str(made.explicit and made.explicit.path) == "/qemu-s390x"
    assert "no table here" in made.warning
    assert "polyarch emulator install s390x" in made.warning
    with pytest.raises(HostError, match="no static QEMU for arm64"):
        emulation.arrange(parse("arm64"), device, [Source(arm64=False)])


def static_file(path: Path) -> Path:
    """A file that looks like a static emulator; what it is for is told by nothing."""
    path.write_bytes(tiny_program(architecture.load()["amd64"]))
    return path


@pytest.mark.parametrize(
    ("registered", "works", "found", "chosen"),
    [
        ("theirs", True, True, "theirs"),  # the machine's own choice
        ("theirs", True, False, "theirs"),
        ("theirs", False, True, "source"),
        ("theirs", False, False, None),
        ("gone", True, True, "source"),  # the kernel alone has the file open
        ("gone", True, False, None),
        (None, True, True, "source"),
    ],
)
def test_what_is_registered_is_registered_once_more(
    registered: str | None,
    works: bool,
    found: bool,
    chosen: str | None,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    known = architecture.load()["arm64"]
    static_file(tmp_path / "theirs")
    source = QemuBinary(static_file(tmp_path / "source"), True)
    entries = [binfmt.registration(known, str(tmp_path / registered), "F")] if registered else []
    monkeypatch.setattr(binfmt, "registrations", lambda: entries)
    monkeypatch.setattr(emulation, "works", lambda known, binary: Works(works, "", None))
    monkeypatch.setattr(Source, "find", lambda self, name: source if found and name == "arm64" else None)
    made = emulation.for_private(["amd64"], [Source()], ["arm64", "arm"])
    assert {name: binary.path.name for name, binary in made.items()} == ({"arm64": chosen} if chosen else {})


@pytest.mark.parametrize(
    ("name", "others"),
    [
        ("arm64", {"arm"}),
        ("arm", {"arm64"}),
        ("amd64", {"386"}),
        ("386", {"amd64"}),
        ("s390x", set()),
        ("vax", set()),
    ],
)
def test_families(name: str, others: set[str]) -> None:
    assert set(emulation.family(name)) == {name, *others}


def test_the_words_of_an_explicit_start() -> None:
    assert explicit_words("/run/qemu", ("ash", "-c", "id"), "/bin/busybox") == (
        *("/run/qemu", "-0", "ash", "/bin/busybox"),
        *("-c", "id"),
    )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"#!/bin/sh\nrest", ("/bin/sh",)),
        (b"#! /usr/bin/env  python3 -u \n", ("/usr/bin/env", "python3 -u")),
        (b"#!\t/bin/sh\t-e\n", ("/bin/sh", "-e")),
        (b"#!/bin/sh -e\r\n", ("/bin/sh", "-e\r")),
        (b"#!/caf\xc3\xa9\n", ("/caf\u00e9",)),
        (b"#!/bin/sh", ("/bin/sh",)),
        (b"#!/" + b"x" * 300, ("/" + "x" * 253,)),
    ],
)
def test_the_words_of_a_script(line: bytes, words: tuple[str, ...]) -> None:
    assert script_words(line, "/app/start", ("start", "a b", "c")) == (*words, "/app/start", "a b", "c")


@pytest.mark.parametrize("start", [b"", b"#", b"#!", b"#! \t\n/bin/sh", b"\x7fELF", b"echo"])
def test_other_files_are_no_scripts(start: bytes) -> None:
    assert script_words(start, "/app/start", ("start",)) is None


@pytest.mark.parametrize(
    ("setting", "value", "command"),
    [
        ("kernel/unprivileged_userns_clone", "0", "sysctl -w kernel.unprivileged_userns_clone=1"),
        ("user/max_user_namespaces", "0", "sysctl -w user.max_user_namespaces="),
        ("kernel/apparmor_restrict_unprivileged_userns", "1", "kernel.apparmor_restrict_unprivileged_userns=0"),
    ],
)
def test_each_setting_that_forbids_is_named_with_its_remedy(
    setting: str, value: str, command: str, tmp_path: Path
) -> None:
    path = tmp_path / setting
    path.parent.mkdir(parents=True)
    path.write_text(f"{value}\n")
    error = no_user_namespace(PermissionError(errno.EPERM, "Operation not permitted"), tmp_path)
    assert setting.replace("/", ".") in error.message
    assert command in str(error.hint)
    path.write_text("1\n" if value == "0" else "0\n")
    other = no_user_namespace(PermissionError(errno.EPERM, "Operation not permitted"), tmp_path)
    assert setting.replace("/", ".") not in other.message


@pytest.mark.parametrize("number", [errno.EINVAL, errno.ENOSPC, errno.EUSERS, errno.EPERM])
def test_other_refusals_of_namespaces_have_a_hint(number: int, tmp_path: Path) -> None:
    assert no_user_namespace(OSError(number, os.strerror(number)), tmp_path).hint


@pytest.mark.parametrize(
    ("number", "kernel", "message", "hint"),
    [
        (errno.EPERM, (6, 1), "no private binfmt_misc (6.7 and newer have)", "polyarch emulator install"),
        (errno.ENODEV, (6, 12), "the kernel has no binfmt_misc", "modprobe binfmt_misc"),
        (errno.EINVAL, (6, 12), "Invalid argument", "polyarch emulator install"),
    ],
)
def test_refusals_of_a_private_table(number: int, kernel: tuple[int, int], message: str, hint: str) -> None:
    error = no_private_binfmt(number, kernel)
    assert message in error.message
    assert hint in str(error.hint)


@pytest.mark.parametrize(("status", "code"), [(0, 0), (3 << 8, 3), (9, 137), (15 | 128, 143)])
def test_exit_codes(status: int, code: int) -> None:
    assert exit_code(status) == code
