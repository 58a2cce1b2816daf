"""What `emulator test` tries, held against registrations that are right and wrong, in a user namespace's table."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from polyarch_platforms import architecture, binfmt, emulation_checks, emulators, qemu
from polyarch_platforms.emulation_checks import Check, checks
from polyarch_platforms.qemu import Ended, QemuBinary

ARCHITECTURES = architecture.load()
ARM64 = ARCHITECTURES["arm64"]
InOwnNamespace = Callable[[Callable[[], Any]], Any]
NAMES = ["program", "child", "script", "argv0", "setuid"]


def verdicts(found: tuple[Check, ...]) -> dict[str, str]:
    return {check.name: check.verdict for check in found}


@pytest.mark.system
def test_every_architecture_behaves_when_it_is_registered_as_polyarch_registers(
    in_own_namespace: InOwnNamespace,
) -> None:
    foreign = {
        one.name: found for one in ARCHITECTURES.values() if (found := qemu.find(one)) and not qemu.works(one).ok
    }
    assert foreign, "there is no QEMU on this machine"

    def action() -> dict[str, tuple[Check, ...]]:
        binfmt.mount()
        for name, binary in foreign.items():
            binfmt.register(binfmt.register_line(ARCHITECTURES[name], str(binary.path), binary.flags))
        return {name: checks(ARCHITECTURES[name], binary.flags) for name, binary in foreign.items()}

    good = dict.fromkeys(NAMES, "ok") | {"setuid": "not-tried"}
    for name, found in in_own_namespace(action).items():
        if not foreign[name].preserve_argv0:
            good = good | {"argv0": "failed"}
        assert verdicts(found) == good, (name, found)
        assert found[0].fact == f"says linux/{name}"


@pytest.mark.system
def test_the_machines_own_programs_behave() -> None:
    own = [one for one in ARCHITECTURES.values() if os.uname().machine in one.uname]
    if not own:
        pytest.skip(f"polyarch does not know this machine's {os.uname().machine}")
    found = checks(own[0], None)
    assert [check.name for check in found] == NAMES
    assert all(check.essential and check.verdict in ("ok", "not-tried") for check in found)
    assert {check.verdict for check in found[:4]} == {"ok"}


def registered(in_own_namespace: InOwnNamespace, interpreter: Path, flags: str) -> emulators.EmulatorTest:
    def action() -> emulators.EmulatorTest:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(interpreter), flags))
        (found,) = emulators.tried([ARM64])
        return found

    found: emulators.EmulatorTest = in_own_namespace(action)
    assert [check.name for check in found.checks] == NAMES
    return found


@pytest.mark.system
def test_without_flag_p_a_program_sees_its_path_which_is_a_limit_and_no_defect(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary
) -> None:
    found = registered(in_own_namespace, emulator.path, "F")
    assert verdicts(found.checks) == dict.fromkeys(NAMES, "ok") | {"argv0": "failed", "setuid": "not-tried"}
    assert found.checks[3].fact == "a program sees its path instead of its argv[0]: no flag P"
    assert found.ok


@pytest.mark.system
def test_flag_p_for_an_emulator_that_does_not_know_it_shifts_the_arguments(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, tmp_path: Path
) -> None:
    unaware = tmp_path / "qemu-aarch64"  # QEMU learns of the flag from the kernel, but only if that starts it
    unaware.write_text(f'#!/bin/sh\nexec {emulator.path} "$@"\n')
    unaware.chmod(0o755)
    found = registered(in_own_namespace, unaware, "P")
    assert found.status.works  # a program that looks at no argument does not see it
    assert verdicts(found.checks) == {
        "program": "ok", "child": "failed", "script": "ok", "argv0": "failed", "setuid": "not-tried",
    }  # fmt: skip
    assert found.checks[1].fact == "it got other arguments than it was given, or its child did not start"
    assert found.checks[3].fact.endswith("this emulator does not know flag P")
    assert not found.ok
    # Without the flag it is as it should be.
    assert registered(in_own_namespace, unaware, "").ok


@pytest.mark.system
def test_a_wrapper_that_always_expects_flag_p_is_no_use_without_it(in_own_namespace: InOwnNamespace) -> None:
    wrapper = qemu.find(ARM64, [Path("/usr/libexec/qemu-binfmt")])
    if wrapper is None:
        pytest.skip("this machine has no /usr/libexec/qemu-binfmt/aarch64-binfmt-P")
    found = registered(in_own_namespace, wrapper.path, "F")
    assert verdicts(found.checks) == dict.fromkeys(NAMES, "not-tried") | {"program": "failed"}
    assert not found.ok
    assert registered(in_own_namespace, wrapper.path, "FP").ok


@pytest.mark.system
def test_an_emulator_whose_programs_start_no_others(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, tmp_path: Path
) -> None:
    once = tmp_path / "qemu-aarch64"
    # A program with arguments is the last one that starts.
    once.write_text(f'#!/bin/sh\n[ $# = 1 ] || echo 0 >{binfmt.TABLE}/qemu-aarch64\nexec {emulator.path} "$@"\n')
    once.chmod(0o755)
    found = registered(in_own_namespace, once, "")
    assert verdicts(found.checks)["program"] == "ok"
    child, script = found.checks[1:3]
    assert (child.verdict, script.verdict) == ("failed", "failed")
    assert script.fact == "the kernel does not start it: Exec format error"
    assert not found.ok


@pytest.mark.parametrize(
    ("ended", "flags", "verdict", "fact", "essential"),
    [
        (Ended(0, b"polyarch", None), "FP", "ok", "the argv[0] that it was given", True),
        (Ended(0, b"./report", None), None, "failed", "path instead", True),
        (Ended(0, b"./report", None), "F", "failed", "no flag P", False),
        (Ended(0, b"--versio", None), "F", "failed", "something else", True),
        (Ended(None, b"", "it was killed by signal 11 (Segmentation fault)"), "F", "failed", "signal 11", True),
    ],
)
def test_what_argv0_tells(ended: Ended, flags: str | None, verdict: str, fact: str, essential: bool) -> None:
    found = emulation_checks._argv0(ended, flags)
    assert (found.verdict, found.essential) == (verdict, essential)
    assert fact in found.fact


@pytest.mark.parametrize(
    ("ended", "fact"),
    [
        (Ended(254, b"polyarch", "it ended with 254"), "did not start"),
        (Ended(0, b"polyarchlinux/arm\n", None), "its child wrote something else"),
        (Ended(1, b"", "it ended with 1: no such system call"), "no such system call"),
        (Ended(None, b"polyarch", "it was killed by signal 4 (Illegal instruction)"), "signal 4"),
    ],
)
def test_what_a_failed_child_tells(ended: Ended, fact: str) -> None:
    found = emulation_checks._child(ended, b"linux/arm64\n")
    assert (found.verdict, found.essential) == ("failed", True)
    assert fact in found.fact


@pytest.mark.parametrize(
    ("flags", "code", "verdict", "fact", "essential"),
    [
        (None, 254, "ok", "it takes the file's owner", True),
        ("FC", 254, "ok", "it takes the file's owner (flag C)", True),
        ("F", 254, "ok", "it takes the file's owner, though without flag C", False),
        ("F", 0, "ok", "it is ignored (no flag C)", False),
        ("FC", 0, "failed", "it is ignored, in spite of flag C", True),
        (None, 0, "failed", "it is ignored", True),
        ("FC", 3, "failed", "it ended with 3", True),
    ],
)
def test_what_a_setuid_program_tells(
    monkeypatch: pytest.MonkeyPatch, flags: str | None, code: int, verdict: str, fact: str, essential: bool
) -> None:
    monkeypatch.setattr(emulation_checks, "_no_setuid", lambda folder: None)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    ended = Ended(code, b"", None if code == 0 else f"it ended with {code}")
    monkeypatch.setattr(emulation_checks, "run", lambda argv, folder: ended)
    assert emulation_checks._setuid(Path("/x"), flags) == Check("setuid", verdict, fact, essential)  # type: ignore[arg-type]


def test_a_setuid_program_is_not_tried_where_it_would_tell_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "report").touch()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert "only root" in str(emulation_checks._no_setuid(tmp_path))
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    status = tmp_path / "status"
    status.write_text("Name:\tx\nNoNewPrivs:\t1\nSeccomp:\t0\n")
    monkeypatch.setattr(emulation_checks, "_STATUS", status)
    assert "no_new_privs" in str(emulation_checks._no_setuid(tmp_path))
    monkeypatch.setattr(os, "statvfs", lambda path: SimpleNamespace(f_flag=os.ST_NOSUID))
    assert emulation_checks._no_setuid(tmp_path) == f"{tmp_path.parent} is mounted nosuid"
