"""What `emulator status` knows: proven by programs that ran, in the kernel's table of a user namespace."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from polyarch_platforms import architecture, binfmt, emulators, qemu
from polyarch_platforms.emulators import EmulatorStatus
from polyarch_platforms.errors import PlatformError
from polyarch_platforms.qemu import QemuBinary

ARCHITECTURES = architecture.load()
ARM64 = ARCHITECTURES["arm64"]
InOwnNamespace = Callable[[Callable[[], Any]], Any]


def test_the_fields_are_the_keys_that_were_promised() -> None:
    promised = ["arch", "platform", "registered", "enabled", "interpreter", "interpreter_version", "flags", "works"]
    assert [field.name for field in fields(EmulatorStatus)][:9] == [*promised, "source"]


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["arm64"], ["arm64"]),
        (["aarch64", "linux/arm64/v8", "arm64"], ["arm64"]),
        (["armhf", "x86_64", "i686"], ["arm", "amd64", "386"]),
        (["linux/arm/v7", "mips64el", "ppc64el", "loongarch64"], ["arm", "mips64le", "ppc64le", "loong64"]),
        ([], list(ARCHITECTURES)),
    ],
)
def test_what_users_call_architectures(words: list[str], names: list[str]) -> None:
    assert [one.name for one in emulators.named(words)] == names


@pytest.mark.parametrize(
    ("word", "said"),
    [("mips", "no emulator is known for 'mips'"), ("vax", "'vax' is no known"), ("", "a part is empty")],
)
def test_words_that_are_no_architecture(word: str, said: str) -> None:
    with pytest.raises(PlatformError, match=said) as caught:
        emulators.named(["arm64", word])
    assert caught.value.hint


def status(private: bool = False) -> EmulatorStatus:
    (found,) = emulators.status([ARM64], private=private)
    return found


@pytest.mark.system
def test_where_nothing_is_registered(in_own_namespace: InOwnNamespace, emulator: QemuBinary) -> None:
    def action() -> None:
        for mounted in (False, True):
            if mounted:
                binfmt.mount()
            found = status()
            assert (found.registered, found.enabled, found.works, found.source) == (False, False, False, "none")
            assert (found.interpreter, found.interpreter_version, found.flags) == (None, None, "")
            assert found.note == f"{emulator.path} is here, but not registered"
            assert binfmt.mounted() is mounted

    in_own_namespace(action)


@pytest.mark.system
def test_private_emulation_is_proven_too(in_own_namespace: InOwnNamespace, emulator: QemuBinary) -> None:
    found = in_own_namespace(lambda: status(private=True))
    assert (found.registered, found.works, found.source, found.note) == (False, True, "private", None)
    assert (found.interpreter, found.in_containers) == (str(emulator.path), None)
    assert found.interpreter_version == ".".join(map(str, emulator.version or ()))


@pytest.mark.system
def test_without_any_qemu(in_own_namespace: InOwnNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(qemu, "_FOLDERS", ())
    found = in_own_namespace(lambda: status(private=True))
    assert (found.works, found.source, found.note) == (False, "none", "there is no QEMU for it here")


@pytest.mark.system
def test_an_entry_or_table_that_is_switched_off(in_own_namespace: InOwnNamespace, emulator: QemuBinary) -> None:
    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(emulator.path), "F"))
        assert status().source == "kernel"
        binfmt.enable("qemu-aarch64", False)
        off = status()
        binfmt.enable("qemu-aarch64")
        (binfmt.TABLE / "status").write_text("0")
        for found in (off, status()):
            assert (found.registered, found.enabled, found.works, found.source) == (True, False, False, "none")
            assert (found.interpreter, found.flags) == (str(emulator.path), "F")
            assert found.note == f"{emulator.path} is here, but switched off"
            assert status(private=True).source == "private"

    in_own_namespace(action)


@pytest.mark.system
def test_an_entry_that_does_not_work(in_own_namespace: InOwnNamespace) -> None:
    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, "/bin/false", ""))
        found = status(private=True)
        assert (found.enabled, found.works, found.in_containers, found.source) == (True, False, False, "kernel")
        assert found.note == "it ended with 1"

    in_own_namespace(action)


@pytest.mark.system
def test_an_emulator_that_flag_f_keeps_though_it_is_gone(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(emulator.path, tmp_path / "qemu-aarch64"))

    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(copy), "F"))
        copy.unlink()
        found = status()
        assert (found.works, found.in_containers, found.interpreter_version) == (True, True, None)

    in_own_namespace(action)


@pytest.mark.system
def test_the_machines_own_programs_need_none(in_own_namespace: InOwnNamespace) -> None:
    own = [one for one in ARCHITECTURES.values() if os.uname().machine in one.uname]
    if not own:
        pytest.skip(f"polyarch does not know this machine's {os.uname().machine}")
    (found,) = in_own_namespace(lambda: emulators.status(own[:1], private=True))
    assert (found.works, found.source, found.registered) == (True, "none", False)
    assert found.note == "this machine runs its programs itself"


@pytest.mark.system
def test_a_version_known_to_crash_is_noted(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, monkeypatch: pytest.MonkeyPatch
) -> None:
    if emulator.version is None:
        pytest.skip(f"{emulator.path} does not tell its version")
    monkeypatch.setattr(qemu, "_KNOWN_BAD", ((emulator.version, (99,)),))
    number = ".".join(map(str, emulator.version))

    def action() -> tuple[EmulatorStatus, EmulatorStatus]:
        private = status(private=True)
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(emulator.path), "F"))
        return private, status()

    for found in in_own_namespace(action):
        assert found.works
        assert found.note == f"QEMU {number} is known to crash in some programs; another version is advised"
