"""What survives a reboot: the kernel's table is cleared, and the host's own mechanism registers again.

That is systemd's real systemd-binfmt or Debian's real update-binfmts, in a namespace of its own.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyarch_platforms import architecture, binfmt, emulator_ways, emulators, installer, qemu
from polyarch_platforms.errors import BinfmtError, QemuError
from polyarch_platforms.installer import Removed
from polyarch_platforms.qemu import QemuBinary
from support.isolation import mount_tmpfs

pytestmark = pytest.mark.system

ARM64 = architecture.load()["arm64"]
CONF = Path("/etc/binfmt.d/qemu-aarch64.conf")
InOwnNamespace = Callable[[Callable[[], Any]], Any]


def reboot(*registers: str) -> None:
    """The kernel forgets everything; then the host's own mechanism does what it does at boot."""
    (binfmt.TABLE / "status").write_text("-1")
    assert binfmt.registrations() == ()
    subprocess.run(registers, check=True, capture_output=True, timeout=60)


SYSTEMD_BINFMT = "/usr/lib/systemd/systemd-binfmt"
needs_systemd = pytest.mark.skipif(not Path(SYSTEMD_BINFMT).exists(), reason=f"this machine has no {SYSTEMD_BINFMT}")


@needs_systemd
def test_after_a_reboot_systemd_registers_it_again(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, systemd_runs: Callable[[], None]
) -> None:
    def action() -> None:
        systemd_runs()
        (told,) = installer.install([ARM64], credential=True, persistent=True, state_dir=state)
        assert told.at_boot == str(CONF)
        made = emulator_ways.named("qemu-aarch64", binfmt.TABLE)
        assert made is not None
        reboot(SYSTEMD_BINFMT)
        again = emulator_ways.named("qemu-aarch64", binfmt.TABLE)
        assert again is not None
        assert again.same_as(made)
        assert emulator_ways.at_boot(again) == str(CONF)
        assert qemu.works(ARM64).reason is None
        # Removal takes both the entry and what would bring it back.
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "removed"),)
        assert emulator_ways.named("qemu-aarch64", binfmt.TABLE) is None
        assert not CONF.exists()

    in_own_namespace(action)


@needs_systemd
def test_it_is_until_the_reboot_where_that_was_asked_for_and_that_can_be_changed(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, systemd_runs: Callable[[], None]
) -> None:
    def installed(**options: bool) -> tuple[str, str | None, bool]:
        (told,) = installer.install([ARM64], state_dir=state, **options)
        assert qemu.works(ARM64).reason is None
        return told.status, told.at_boot, CONF.exists()

    def action() -> None:
        systemd_runs()
        binfmt.mount()
        binfmt.register(b":WSLInterop:M::MZ::/bin/true:")  # gone if anything restarted systemd-binfmt
        assert installed(persistent=False) == ("installed", None, False)
        assert installed() == ("installed", None, False)  # as it was
        assert installed(persistent=True) == ("installed", str(CONF), True)
        assert installed() == ("installed", str(CONF), True)
        assert installed(persistent=False) == ("installed", None, False)
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "removed"),)
        assert [entry.name for entry in binfmt.registrations()] == ["WSLInterop"]

    in_own_namespace(action)
    assert not state.parent.exists()


@needs_systemd
def test_the_hosts_own_registration_serves_and_says_what_makes_it_at_boot(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, systemd_runs: Callable[[], None]
) -> None:
    package = Path("/usr/lib/binfmt.d/qemu-aarch64.conf")
    if not package.exists():
        pytest.skip(f"this machine has no {package}, which Debian's qemu-user-static brings")

    def action() -> None:
        systemd_runs()
        binfmt.mount()
        reboot(SYSTEMD_BINFMT)
        (told,) = installer.install([ARM64], persistent=True, state_dir=state)
        assert (told.status, told.way, told.at_boot) == ("present", None, str(package))
        (status,) = emulators.status([ARM64])
        assert (status.source, status.works, status.at_boot) == ("kernel", True, str(package))
        # One of the same name in /etc masks it (binfmt.d(5)); an empty one lets nothing be registered.
        CONF.write_text("# nothing\n")
        assert emulators.status([ARM64])[0].at_boot is None
        with pytest.raises(QemuError, match="nothing registers that again after a reboot") as caught:
            installer.install([ARM64], persistent=True, state_dir=state)
        assert "polyarch emulator install --force arm64" in str(caught.value.hint)

    in_own_namespace(action)


def test_after_a_reboot_update_binfmts_registers_it_again(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, debian: Callable[[], None]
) -> None:
    def action() -> None:
        debian()
        (told,) = installer.install([ARM64], persistent=True, state_dir=state)
        assert told.at_boot == "update-binfmts"
        (made,) = binfmt.registrations()
        reboot("update-binfmts", "--enable")
        (again,) = binfmt.registrations()
        assert again.same_as(made)
        assert emulator_ways.at_boot(again) == "update-binfmts"
        assert qemu.works(ARM64).reason is None

        (told,) = installer.install([ARM64], persistent=False, state_dir=state)
        assert (told.status, told.at_boot) == ("installed", None)
        assert qemu.works(ARM64).reason is None
        reboot("update-binfmts", "--enable")
        assert binfmt.empty()
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "gone"),)

    in_own_namespace(action)
    assert not state.parent.exists()


def test_debians_packages_own_import_serves_at_each_boot(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, debian: Callable[[], None]
) -> None:
    if not Path("/usr/share/binfmts/qemu-aarch64").exists():
        pytest.skip("this machine has no /usr/share/binfmts/qemu-aarch64, which Debian's qemu-user-static brings")

    def action() -> None:
        debian()
        binfmt.mount()
        subprocess.run(["update-binfmts", "--import", "qemu-aarch64"], check=True)
        (told,) = installer.install([ARM64], persistent=True, state_dir=state)
        assert (told.status, told.at_boot) == ("present", "update-binfmts")
        # Beside it, an entry of the same name cannot be kept by update-binfmts; nobody is told that it were.
        with pytest.raises(QemuError, match="would not survive a reboot: update-binfmts keeps an entry 'qemu-aa"):
            installer.install([ARM64], persistent=True, force=True, credential=True, state_dir=state)
        (told,) = installer.install([ARM64], force=True, credential=True, state_dir=state)
        assert (told.status, told.way, told.at_boot) == ("replaced", "kernel", None)
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "restored"),)
        (entry,) = binfmt.registrations()
        assert emulator_ways.at_boot(entry) == "update-binfmts"

    in_own_namespace(action)
    assert not state.parent.exists()


def test_where_nothing_registers_at_boot_persistence_is_refused_and_nothing_changes(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(emulator.path.parent))
    monkeypatch.setattr(emulator_ways, "_UPDATE_BINFMTS", "no-update-binfmts")

    def action() -> None:
        mount_tmpfs(Path("/run"))
        with pytest.raises(QemuError, match="qemu-aarch64 would not survive a reboot: neither systemd nor") as caught:
            installer.install([ARM64], persistent=True, state_dir=state)
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("apt install binfmt-support")
        assert not binfmt.mounted()
        (told,) = installer.install([ARM64], state_dir=state)
        assert (told.way, told.at_boot) == ("kernel", None)
        with pytest.raises(QemuError, match="would not survive a reboot"):
            installer.install([ARM64], persistent=True, state_dir=state)
        assert qemu.works(ARM64).reason is None
        installer.remove([ARM64], state_dir=state)
        assert not binfmt.mounted()

    in_own_namespace(action)
    assert not state.parent.exists()


def test_a_change_of_means_that_fails_leaves_it_as_it_was(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, systemd_runs: Callable[[], None]
) -> None:
    def action() -> None:
        systemd_runs()
        installer.install([ARM64], persistent=False, state_dir=state)
        before = binfmt.registrations()
        CONF.with_suffix(".new").mkdir()
        with pytest.raises(QemuError, match=f"cannot write {CONF}"):
            installer.install([ARM64], persistent=True, state_dir=state)
        assert binfmt.registrations() == before
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "removed"),)

    in_own_namespace(action)
    assert not state.parent.exists()


def test_the_means_that_was_given_up_is_there_again_where_the_kernel_refuses_the_entry(
    in_own_namespace: InOwnNamespace,
    emulator: QemuBinary,
    state: Path,
    systemd_runs: Callable[[], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    real = binfmt.register

    def refused_once(text: bytes, root: Path = binfmt.TABLE) -> None:
        monkeypatch.setattr(binfmt, "register", real)
        raise BinfmtError("the kernel refuses it")

    def action() -> None:
        systemd_runs()
        installer.install([ARM64], persistent=True, state_dir=state)
        before, content = binfmt.registrations(), CONF.read_text()
        monkeypatch.setattr(binfmt, "register", refused_once)
        with pytest.raises(BinfmtError, match="the kernel refuses it"):
            installer.install([ARM64], persistent=False, state_dir=state)
        assert (binfmt.registrations(), CONF.read_text()) == (before, content)
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "removed"),)
        assert not CONF.exists()

    in_own_namespace(action)
    assert not state.parent.exists()
