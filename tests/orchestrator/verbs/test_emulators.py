"""The private emulation that `emulator status` and `test` try programs in: the one of `run` and `emulate`."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest

from polyarch.container.emulation import private_refusal, register_privately
from polyarch.container.id_maps import same_ids
from polyarch.container.launch import call_inside
from polyarch.errors import HostError
from polyarch.verbs import emulators as verb
from polyarch.verbs.emulators import emulated, installable, private_emulation
from polyarch_platforms import binfmt, emulators, qemu
from polyarch_platforms.architecture import load
from polyarch_platforms.device import Device
from polyarch_platforms.emulation_checks import Check, checks
from polyarch_platforms.errors import QemuError
from polyarch_platforms.platform import parse
from polyarch_platforms.qemu import QemuBinary

ARM64 = load()["arm64"]
HERE = Device("here", platform=parse("linux/amd64"), native=(parse("linux/amd64"), parse("linux/386")))


class Source:
    """What has the machine's own emulators, for `names` only."""

    def __init__(self, names: Iterable[str] = ("arm64",)) -> None:
        self._names = names

    def find(self, architecture: str) -> QemuBinary | None:
        return qemu.find(load()[architecture]) if architecture in self._names else None


@pytest.fixture
def emulator() -> QemuBinary:
    found = qemu.find(ARM64)
    if found is None or not found.static or os.uname().machine != "x86_64":
        pytest.skip("this is no amd64 machine with a static QEMU for arm64")
    if refusal := private_refusal():
        pytest.skip(str(refusal))
    return found


@pytest.mark.system
def test_programs_are_tried_in_it_and_the_host_is_as_before(emulator: QemuBinary) -> None:
    before = binfmt.registrations()
    private = private_emulation(HERE, [Source()])
    assert private.emulators == {"arm64": emulator}
    (entry,) = private.inside(binfmt.registrations)
    assert (entry.name, entry.interpreter) == ("qemu-aarch64", str(emulator.path))
    assert binfmt.registrations() == before


@pytest.mark.system
def test_no_file_stays_open(emulator: QemuBinary) -> None:
    private = private_emulation(HERE, [Source()])
    before = set(Path("/proc/self/fd").iterdir())
    private.inside(binfmt.registrations)
    assert set(Path("/proc/self/fd").iterdir()) == before


@pytest.mark.system
def test_what_fails_inside_is_told_outside(emulator: QemuBinary) -> None:
    private = private_emulation(HERE, [Source()])
    with pytest.raises(RuntimeError, match="ZeroDivisionError"):
        private.inside(lambda: 1 // 0)


def test_a_refusal_says_that_single_programs_are_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        verb, "private_refusal", lambda: HostError("user namespaces are switched off", "switch them on")
    )
    private = private_emulation(HERE, [])
    with pytest.raises(QemuError, match="only single programs can be emulated: user namespaces are swi") as caught:
        private.inside(lambda: None)
    assert caught.value.hint == "switch them on"


def setuid(emulator: QemuBinary, *, credential: bool, kept: Path) -> Check:
    """The check in a namespace that knows every user, as `emulate` gives one to root."""

    def inside() -> None:
        register_privately({"arm64": emulator}, credential=credential)
        found = checks(ARM64, ("OC" if credential else "") + emulator.flags)[-1]
        kept.write_text(f"{found.name}|{found.verdict}|{found.fact}|{found.essential}")

    call_inside(same_ids(), inside)
    name, verdict, fact, essential = kept.read_text().split("|")
    return Check(name, verdict, fact, essential == "True")  # type: ignore[arg-type]


@pytest.mark.system
def test_flag_c_decides_what_a_setuid_program_may(emulator: QemuBinary, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make a setuid program of another user's")
    without = setuid(emulator, credential=False, kept=tmp_path / "without")
    if without.verdict == "not-tried":
        pytest.skip(without.fact)
    assert without == Check("setuid", "ok", "it is ignored (no flag C)", False)
    with_c = setuid(emulator, credential=True, kept=tmp_path / "with")
    assert with_c == Check("setuid", "ok", "it takes the file's owner (flag C)", True)


def test_what_there_is_to_test_and_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    static = QemuBinary(Path("/opt/qemu-aarch64"), True)

    def registered(*entries: binfmt.Registration) -> None:
        monkeypatch.setattr(binfmt, "registrations", lambda: entries)

    registered()
    with pytest.raises(HostError, match="nothing is registered") as caught:
        emulated(emulators.NO_PRIVATE)
    assert caught.value.hint == "apt install qemu-user-static"
    with pytest.raises(HostError, match="no static QEMU here to install"):
        installable(HERE, [Source(())])
    private = emulators.Private({"arm64": static}, emulators.NO_PRIVATE.inside)
    assert emulated(private) == ["arm64"]
    off = binfmt.registration(load()["s390x"], "/opt/qemu-s390x", "F")
    registered(binfmt.Registration(off.name, off.interpreter, off.flags, off.magic, off.mask, enabled=False))
    assert emulated(private) == ["arm64", "s390x"]
