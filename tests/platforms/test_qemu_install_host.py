"""Emulators kept in the host's own way: systemd-binfmt's files, and Debian's real update-binfmts.

In a namespace of their own, where tmpfs lie over the folders that the ways write to.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyarch_platforms import architecture, binfmt, installer, qemu
from polyarch_platforms.errors import QemuError
from polyarch_platforms.installer import Removed
from polyarch_platforms.qemu import QemuBinary

pytestmark = pytest.mark.system

ARM64 = architecture.load()["arm64"]
CONF = Path("/etc/binfmt.d/qemu-aarch64.conf")
InOwnNamespace = Callable[[Callable[[], Any]], Any]


def test_where_systemd_runs_a_file_registers_it_at_each_boot(
    in_own_namespace: InOwnNamespace,
    emulator: QemuBinary,
    state: Path,
    script: Path | None,
    systemd_runs: Callable[[], None],
) -> None:
    def action() -> None:
        systemd_runs()
        (told,) = installer.install([ARM64], script=script, state_dir=state)
        assert (told.way, told.at_boot) == ("systemd", str(CONF))
        assert qemu.works(ARM64).reason is None
        # binfmt.d(5): one register line, which the kernel takes as it stands.
        (entry,) = binfmt.registrations()
        assert binfmt.parse_line(CONF.read_bytes()).same_as(entry)
        binfmt.unregister(entry.name)
        binfmt.register(CONF.read_bytes())

        # With other options, it is made again; the file is no stranger's.
        (told,) = installer.install([ARM64], script=script, fix_binary=False, state_dir=state)
        assert "F" not in told.flags
        assert binfmt.parse_line(CONF.read_bytes()).flags == told.flags
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "removed"),)
        assert list(CONF.parent.iterdir()) == []
        assert not binfmt.mounted()

    in_own_namespace(action)
    assert not state.parent.exists()


def test_somebody_elses_file_is_replaced_when_asked_to_and_comes_back(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, systemd_runs: Callable[[], None]
) -> None:
    def action() -> None:
        systemd_runs()
        CONF.write_text("# mine\n")
        with pytest.raises(QemuError, match=f"{CONF} is in the way: polyarch did not make it"):
            installer.install([ARM64], state_dir=state)
        assert not binfmt.mounted()
        (told,) = installer.install([ARM64], force=True, state_dir=state)
        assert told.status == "replaced"
        installer.install([ARM64], state_dir=state)
        installer.remove([ARM64], state_dir=state)
        assert CONF.read_text() == "# mine\n"

    in_own_namespace(action)


def test_a_file_that_was_changed_since_is_left(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, systemd_runs: Callable[[], None]
) -> None:
    def action() -> None:
        systemd_runs()
        installer.install([ARM64], state_dir=state)
        CONF.write_text("# mine now\n")
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "removed"),)
        assert CONF.read_text() == "# mine now\n"
        assert not binfmt.mounted()

    in_own_namespace(action)


def test_where_the_file_cannot_be_written_nothing_stays(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, systemd_runs: Callable[[], None]
) -> None:
    def action() -> None:
        systemd_runs()
        CONF.with_suffix(".new").mkdir()
        with pytest.raises(QemuError, match=f"cannot write {CONF}: Is a directory"):
            installer.install([ARM64], state_dir=state)
        assert not binfmt.mounted()
        binfmt.mount()
        theirs = binfmt.register_line(ARM64, "/bin/false", "")
        binfmt.register(theirs)
        with pytest.raises(QemuError, match=f"cannot write {CONF}"):
            installer.install([ARM64], force=True, state_dir=state)
        assert binfmt.registrations() == (binfmt.parse_line(theirs),)

    in_own_namespace(action)
    assert not state.parent.exists()


def display(name: str) -> str:
    return subprocess.run(["update-binfmts", "--display", name], capture_output=True, text=True, check=True).stdout


def test_where_update_binfmts_is_it_keeps_the_entry(
    in_own_namespace: InOwnNamespace,
    emulator: QemuBinary,
    state: Path,
    script: Path | None,
    debian: Callable[[], None],
) -> None:
    def action() -> None:
        debian()
        (told,) = installer.install([ARM64], script=script, state_dir=state)
        assert told.way == "update-binfmts"
        assert qemu.works(ARM64).reason is None
        shown = display("qemu-aarch64")
        assert "qemu-aarch64 (enabled)" in shown
        assert "package = polyarch" in shown
        assert f"interpreter = {emulator.path}" in shown

        (told,) = installer.install([ARM64], script=script, credential=True, state_dir=state)
        assert told.way == "update-binfmts"
        assert "C" in told.flags
        (entry,) = binfmt.registrations()
        assert sorted(entry.flags) == sorted(told.flags)

        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "removed"),)
        assert list(Path("/var/lib/binfmts").iterdir()) == []
        assert not binfmt.mounted()

    in_own_namespace(action)
    assert not state.parent.exists()


def test_what_update_binfmts_has_from_another_package_stays_there(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, debian: Callable[[], None]
) -> None:
    def action() -> None:
        debian()
        binfmt.mount()
        magic, mask = ("".join(f"\\x{byte:02x}" for byte in part) for part in ARM64.magic[0])
        package = ["update-binfmts", "--package", "qemu-user-static"]
        install = ["--install", "qemu-aarch64", "/bin/true", "--magic", magic, "--mask", mask]
        subprocess.run([*package, *install], check=True)
        subprocess.run(["update-binfmts", "--disable", "qemu-aarch64"], check=True)
        assert binfmt.empty()

        (told,) = installer.install([ARM64], state_dir=state)
        assert told.way == "kernel"
        assert qemu.works(ARM64).reason is None
        installer.remove([ARM64], state_dir=state)
        assert binfmt.empty()
        assert "package = qemu-user-static" in display("qemu-aarch64")

    in_own_namespace(action)
