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
from polyarch_platforms.emulators import NO_PRIVATE, EmulatorStatus, Private
from polyarch_platforms.errors import PlatformError, QemuError
from polyarch_platforms.qemu import QemuBinary
from support.isolation import isolated

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


def status(private: Private = NO_PRIVATE) -> EmulatorStatus:
    (found,) = emulators.status([ARM64], private=private)
    return found


def private(binary: QemuBinary) -> Private:
    """A private emulation of arm64 by that emulator."""

    def inside(action: Callable[[], Any], /) -> Any:
        def registered() -> Any:
            binfmt.mount()
            binfmt.register(binfmt.register_line(ARM64, str(binary.path), binary.flags))
            return action()

        return isolated(registered)

    return Private({"arm64": binary}, inside)


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
    found = in_own_namespace(lambda: status(private(emulator)))
    assert (found.registered, found.works, found.source, found.note) == (False, True, "private", None)
    assert (found.interpreter, found.in_containers) == (str(emulator.path), True)
    assert found.interpreter_version == ".".join(map(str, emulator.version or ()))


@pytest.mark.system
def test_without_any_qemu(in_own_namespace: InOwnNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(qemu, "_FOLDERS", ())
    found = in_own_namespace(status)
    assert (found.works, found.source, found.note) == (False, "none", "there is no QEMU for it here")
    assert found.mend == "apt install qemu-user-static"


@pytest.mark.system
def test_where_a_private_emulation_is_refused_it_is_told(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary
) -> None:
    def refused(action: Callable[[], Any], /) -> Any:
        raise QemuError("user namespaces are switched off", "sysctl -w that=1")

    found = in_own_namespace(lambda: status(Private({"arm64": emulator}, refused)))
    assert (found.works, found.source) == (False, "none")
    assert (found.note, found.mend) == ("user namespaces are switched off", "sysctl -w that=1")


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
        entry, table = binfmt.TABLE / "qemu-aarch64", binfmt.TABLE / "status"
        for found, what, mend in ((off, "the entry qemu-aarch64", entry), (status(), "binfmt_misc", table)):
            assert (found.registered, found.enabled, found.works, found.source) == (True, False, False, "none")
            assert (found.interpreter, found.flags) == (str(emulator.path), "F")
            assert (found.note, found.mend) == (f"{what} is switched off", f"as root: echo 1 > {mend}")
        both = status(private(emulator))
        assert (both.source, both.works, both.enabled, both.note) == ("private", True, False, found.note)

    in_own_namespace(action)


@pytest.mark.system
def test_an_entry_that_does_not_work(in_own_namespace: InOwnNamespace, emulator: QemuBinary) -> None:
    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, "/bin/false", ""))
        found = status(private(emulator))
        assert (found.enabled, found.works, found.in_containers, found.source) == (True, False, False, "kernel")
        assert (found.note, found.mend) == ("it ended with 1", "as root: polyarch emulator install --force arm64")

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
        assert (found.works, found.in_containers) == (True, True)
        # Asked is the one in use.
        assert found.interpreter_version == ".".join(map(str, emulator.version or ()))
        assert found.note == f"{copy} is gone; the kernel keeps the one that it opened (flag F)"
        assert found.mend == "as root: polyarch emulator install --force arm64"

    in_own_namespace(action)


@pytest.mark.system
@pytest.mark.parametrize("flags", ["F", ""])
def test_an_emulator_that_was_replaced_on_the_disk(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, tmp_path: Path, flags: str
) -> None:
    version = ".".join(map(str, emulator.version or ()))
    if f" {version} " not in emulator.build:
        pytest.skip(f"{emulator.path} does not tell its version: {emulator.build}")
    other = version[:-1] + ("1" if version[-1] != "1" else "2")
    copy = Path(shutil.copy(emulator.path, tmp_path / "qemu-aarch64"))
    update = tmp_path / "update"  # the same QEMU, that says it were another
    update.write_bytes(emulator.path.read_bytes().replace(version.encode(), other.encode()))
    update.chmod(0o755)

    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(copy), flags))
        assert status().note == (None if flags else "it does not work in containers: it is registered without flag F")
        update.rename(copy)
        found = status()
        assert found.works
        if flags:
            assert found.interpreter_version == version
            assert found.note == f"{copy} was replaced, the old one is in use (flag F): {emulator.build}"
            assert found.mend == "as root: polyarch emulator install --force arm64"
        else:
            assert found.interpreter_version == other

    in_own_namespace(action)


@pytest.mark.system
def test_the_machines_own_programs_need_none(in_own_namespace: InOwnNamespace) -> None:
    own = [one for one in ARCHITECTURES.values() if os.uname().machine in one.uname]
    if not own:
        pytest.skip(f"polyarch does not know this machine's {os.uname().machine}")
    (found,) = in_own_namespace(lambda: emulators.status(own[:1]))
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
        alone = status(private(emulator))
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(emulator.path), "F"))
        return alone, status()

    for found in in_own_namespace(action):
        assert found.works
        assert found.note == f"QEMU {number} is known to crash in some programs; another version is advised"
