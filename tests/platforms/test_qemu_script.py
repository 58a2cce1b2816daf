"""QEMU's own script, the real one; and scripts that do not do what they should."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyarch_platforms import architecture, binfmt, qemu_script
from polyarch_platforms.errors import QemuError
from polyarch_platforms.tiny import tiny_program

ARCHITECTURES = architecture.load()
ARM64 = ARCHITECTURES["arm64"]
QEMU = Path("/usr/bin/qemu-aarch64-static")


@pytest.mark.system
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_the_real_script_makes_one_entry_for_each_architecture(qemu_binfmt_conf: Path, name: str) -> None:
    known = ARCHITECTURES[name]
    binary = Path(f"/opt/qemu/qemu-{known.qemu}-static")
    entry = qemu_script.registration(qemu_binfmt_conf, known, binary, "FP")
    assert entry.name == f"qemu-{known.qemu}"
    assert entry.interpreter == str(binary)
    assert set(entry.flags) == {"F", "P"}
    # Also for the machine's own family, which the script would pass over: whether it is wanted is not the script's.
    assert [one for one in ARCHITECTURES if entry.matches(tiny_program(ARCHITECTURES[one]))] == [name]


@pytest.mark.system
@pytest.mark.parametrize(("flags", "made"), [("", ""), ("F", "F"), ("OC", "CO"), ("P", "P"), ("OCFP", "CFOP")])
def test_the_real_scripts_options(qemu_binfmt_conf: Path, flags: str, made: str) -> None:
    entry = qemu_script.registration(qemu_binfmt_conf, ARM64, QEMU, flags)
    assert "".join(sorted(entry.flags)) == made


@pytest.mark.system
def test_an_emulator_without_a_suffix(qemu_binfmt_conf: Path) -> None:
    assert qemu_script.registration(qemu_binfmt_conf, ARM64, Path("/opt/qemu-aarch64"), "").interpreter.endswith("64")


@pytest.mark.system
def test_the_real_script_leaves_the_kernel_alone(
    in_own_namespace: Callable[[Callable[[], Any]], Any], qemu_binfmt_conf: Path
) -> None:
    def action() -> None:
        qemu_script.registration(qemu_binfmt_conf, ARM64, QEMU, "F")
        assert not binfmt.mounted()
        binfmt.mount()
        qemu_script.registration(qemu_binfmt_conf, ARM64, QEMU, "F")
        assert binfmt.empty()

    in_own_namespace(action)


def test_a_binary_whose_name_the_script_cannot_make(tmp_path: Path) -> None:
    script = tmp_path / "unused"
    script.touch()
    with pytest.raises(QemuError, match="names emulators qemu-aarch64 and a suffix"):
        qemu_script.registration(script, ARM64, Path("/usr/libexec/qemu-binfmt/aarch64-binfmt-P"), "P")


def line_for(name: str, flags: str = "F", interpreter: Path = QEMU) -> str:
    return binfmt.register_line(ARCHITECTURES[name], str(interpreter), flags).decode()


WRITE = 'while [ "$1" != --exportdir ]; do shift; done; printf "%s\\n" \'{}\' >"$2/qemu-aarch64.conf"'


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("exit 0", "made no entry for arm64: 'it said nothing'"),
        ("echo Usage: x >&2; echo; exit 0", "made no entry for arm64: 'Usage: x'"),
        ("echo 'cannot write' >&2; exit 3", "ended with 3: 'cannot write'"),
        ("printf '\\033[31mred' >&2; exit 3", r"ended with 3: '\\x1b\[31mred'"),
        (WRITE.format("nonsense"), "made no usable entry for arm64: not a binfmt_misc line"),
        (WRITE.format(""), "made no usable entry for arm64"),
        (WRITE.format(line_for("arm")), "for arm64 does not take its programs"),
        (WRITE.format(line_for("arm64", "")), "does not know how to set flag F"),
        (WRITE.format(line_for("arm64", "P")), "does not know how to set flag F"),
        (WRITE.format(line_for("arm64", "F", Path("/else/qemu-aarch64"))), "registers '/else/qemu-aarch64', not"),
    ],
)
def test_scripts_that_fail(tmp_path: Path, code: str, said: str) -> None:
    script = tmp_path / "qemu-binfmt-conf.sh"
    script.write_text(f"{code}\n")
    with pytest.raises(QemuError, match=said) as caught:
        qemu_script.registration(script, ARM64, QEMU, "F")
    assert "\n" not in caught.value.message


def test_a_script_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(QemuError, match=r"there is no script /.*/missing.sh"):
        qemu_script.registration(tmp_path / "missing.sh", ARM64, QEMU, "F")


def test_a_script_that_hangs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "x.sh"
    script.write_text("exec sleep 60\n")
    monkeypatch.setattr(qemu_script, "_SECONDS", 0.1)
    with pytest.raises(QemuError, match="did not end within"):
        qemu_script.registration(script, ARM64, QEMU, "F")


def test_strange_words_reach_the_script_as_they_are(tmp_path: Path) -> None:
    """No shell reads what is handed over: the script sees each option as one word."""
    script = tmp_path / "a script; touch x.sh"
    script.write_text(f"printf '%s\\n' \"$@\" >'{tmp_path}/words'\n")
    folder = tmp_path / "$(touch y) 'q"
    with pytest.raises(QemuError, match="made no entry"):
        qemu_script.registration(script, ARM64, folder / "qemu-aarch64 -s", "")
    words = (tmp_path / "words").read_text().splitlines()
    assert words[:6] == ["--qemu-path", str(folder), "--systemd", "aarch64", "--qemu-suffix", " -s"]
    assert sorted(path.name for path in tmp_path.iterdir()) == [script.name, "words"]


def test_the_hosts_script_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu_script, "_FOLDERS", (str(tmp_path / "share"),))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert qemu_script.find_script() is None
    (tmp_path / "share").mkdir()
    packaged = tmp_path / "share" / "qemu-binfmt-conf.sh"
    packaged.write_text("#!/bin/sh\n")
    packaged.chmod(0o644)
    # It is given to sh, so it need not be executable.
    assert qemu_script.find_script() == packaged
    (tmp_path / "bin").mkdir()
    own = tmp_path / "bin" / "qemu-binfmt-conf.sh"
    own.write_text("#!/bin/sh\n")
    assert qemu_script.find_script() == own
    assert os.access(own, os.R_OK)
