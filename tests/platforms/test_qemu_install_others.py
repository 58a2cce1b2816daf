"""Installing beside what others registered: it serves, is replaced when asked, and comes back."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyarch_platforms import architecture, binfmt, emulator_record, emulators, installer, qemu
from polyarch_platforms.binfmt import Registration
from polyarch_platforms.errors import BinfmtError, QemuError
from polyarch_platforms.installer import Installed, Removed
from polyarch_platforms.qemu import QemuBinary

pytestmark = pytest.mark.system

ARCHITECTURES = architecture.load()
ARM64, ARM, S390X = (ARCHITECTURES[name] for name in ("arm64", "arm", "s390x"))
WSL = b":WSLInterop:M::MZ::/bin/true:"
InOwnNamespace = Callable[[Callable[[], Any]], Any]


def only_entry(name: str = "qemu-aarch64") -> Registration:
    found = {entry.name: entry for entry in binfmt.registrations()}
    return found[name]


def test_a_table_that_was_mounted_before_stays_mounted(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path
) -> None:
    def action() -> None:
        binfmt.mount()
        installer.install([ARM64], state_dir=state)
        installer.remove([ARM64], state_dir=state)
        assert binfmt.mounted()
        assert binfmt.empty()

    in_own_namespace(action)


def test_others_entries_stay_and_keep_the_table_mounted(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path
) -> None:
    def action() -> None:
        installer.install([ARM64], state_dir=state)
        binfmt.register(WSL)
        (binfmt.TABLE / "register").write_bytes(b":python:E::py::/bin/true:")
        installer.remove([ARM64], state_dir=state)
        assert binfmt.mounted()
        assert only_entry("WSLInterop").interpreter == "/bin/true"
        assert (binfmt.TABLE / "python").exists()

    in_own_namespace(action)
    assert not state.exists()


def test_somebody_elses_entry_serves_and_is_left_alone(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path
) -> None:
    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(emulator.path), "F", name="theirs"))
        (told,) = installer.install([ARM64], state_dir=state)
        assert told == Installed("arm64", "present", str(emulator.path), "F", None, None, None)
        assert not state.exists()
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "absent"),)
        assert only_entry("theirs").enabled

    in_own_namespace(action)


@pytest.mark.parametrize("options", [{"credential": True}, {"preserve_argv0": True}, {"qemu_suffix": "-static"}])
def test_somebody_elses_entry_that_is_not_what_was_asked_for(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, options: dict[str, Any], tmp_path: Path
) -> None:
    copy = Path(shutil.copy(emulator.path, tmp_path / "theirs"))

    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(copy), "F"))
        with pytest.raises(
            QemuError, match=f"arm64 is registered already, not by polyarch: 'qemu-aarch64' with {copy} and flags F"
        ) as caught:
            installer.install([ARM64], state_dir=state, **options)
        assert caught.value.hint is not None
        assert caught.value.hint.startswith("polyarch emulator install --force arm64 ")

    in_own_namespace(action)


def test_force_replaces_it_and_removal_puts_it_back(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, script: Path | None, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(emulator.path, tmp_path / "theirs"))

    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(copy), "CF"))
        theirs = only_entry()
        (told,) = installer.install([ARM64], script=script, force=True, state_dir=state)
        assert (told.status, told.interpreter) == ("replaced", str(emulator.path))
        # Again, without force: what is there is polyarch's own, and what had been theirs is not forgotten.
        (again,) = installer.install([ARM64], script=script, credential=True, state_dir=state)
        assert (again.status, "C" in again.flags) == ("installed", True)
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "restored"),)
        assert only_entry() == theirs

    in_own_namespace(action)
    assert not state.exists()


def test_what_was_replaced_comes_back_also_where_somebody_took_ours_out(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path
) -> None:
    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, "/bin/false", ""))
        installer.install([ARM64], force=True, state_dir=state)
        binfmt.unregister("qemu-aarch64")
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "restored"),)
        assert only_entry().interpreter == "/bin/false"

    in_own_namespace(action)
    assert not state.exists()


def test_after_another_boot_it_is_the_hosts_to_register(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path
) -> None:
    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, "/bin/false", ""))
        installer.install([ARM64], force=True, state_dir=state)
        record = state / "installed.json"
        record.write_text(record.read_text().replace(emulator_record.boot_id(), "an earlier boot"))
        binfmt.unregister("qemu-aarch64")
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "gone"),)
        assert binfmt.empty()

    in_own_namespace(action)


def test_an_entry_that_was_switched_off_comes_back_switched_off(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path
) -> None:
    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, "/bin/false", ""))
        binfmt.enable("qemu-aarch64", False)
        with pytest.raises(QemuError, match="entry 'qemu-aarch64' is switched off; polyarch did not make it") as caught:
            installer.install([ARM64], state_dir=state)
        assert caught.value.hint == f"echo 1 > {binfmt.TABLE}/qemu-aarch64"
        installer.install([ARM64], force=True, state_dir=state)
        assert qemu.works(ARM64).reason is None
        installer.remove([ARM64], state_dir=state)
        assert (only_entry().interpreter, only_entry().enabled) == ("/bin/false", False)

    in_own_namespace(action)


def test_somebody_elses_entry_that_does_not_work_is_told(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path
) -> None:
    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, "/bin/false", "", name="theirs"))
        with pytest.raises(
            QemuError, match=r"'theirs' with /bin/false and flags \(none\); but its programs do not run: it end"
        ):
            installer.install([ARM64], state_dir=state)
        # Of another name, it need not go: the newer entry is asked first.
        installer.install([ARM64], force=True, state_dir=state)
        assert qemu.works(ARM64).reason is None
        installer.remove([ARM64], state_dir=state)
        assert [entry.name for entry in binfmt.registrations()] == ["theirs"]

    in_own_namespace(action)


def test_after_the_table_vanished_it_is_installed_or_removed_all_the_same(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path
) -> None:
    def action() -> None:
        installer.install([ARM64], state_dir=state)
        binfmt.unmount()  # the entries of a namespace's table go with it, as all do in a reboot
        (status,) = emulators.status([ARM64])
        assert (status.registered, status.works, status.source) == (False, False, "none")
        installer.install([ARM64], state_dir=state)
        assert qemu.works(ARM64).reason is None
        binfmt.unmount()
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "gone"),)
        assert not binfmt.mounted()

    in_own_namespace(action)
    assert not state.parent.exists()


def test_an_entry_that_somebody_put_in_our_place_is_not_ours_to_remove(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path
) -> None:
    def action() -> None:
        installer.install([ARM64], state_dir=state)
        binfmt.unregister("qemu-aarch64")
        binfmt.register(binfmt.register_line(ARM64, "/bin/false", ""))
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "gone"),)
        assert only_entry().interpreter == "/bin/false"

    in_own_namespace(action)
    assert not state.parent.exists()


def test_a_table_that_is_switched_off_is_left_so(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path
) -> None:
    def action() -> None:
        binfmt.mount()
        (binfmt.TABLE / "status").write_text("0")
        with pytest.raises(BinfmtError, match="switched off as a whole"):
            installer.install([ARM64], state_dir=state)
        assert not binfmt.table_enabled()

    in_own_namespace(action)


def test_an_entry_of_our_name_for_other_programs_is_in_the_way(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path
) -> None:
    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(S390X, "/bin/false", "", name="qemu-aarch64"))
        binfmt.enable("qemu-aarch64", False)
        with pytest.raises(QemuError, match="entry 'qemu-aarch64' is in the way: polyarch did not make it"):
            installer.install([ARM64], state_dir=state)
        (told,) = installer.install([ARM64], force=True, state_dir=state)
        assert told.status == "replaced"
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "restored"),)
        assert only_entry().magic == S390X.magic[0][0]

    in_own_namespace(action)
    assert not state.exists()


def test_an_entry_that_only_the_kernel_still_had_cannot_come_back_and_that_is_told(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(emulator.path, tmp_path / "theirs"))

    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(copy), "F"))
        copy.unlink()
        installer.install([ARM64], force=True, state_dir=state)
        (told,) = installer.remove([ARM64], state_dir=state)
        assert told.status == "removed"
        assert told.note == (
            f"the entry 'qemu-aarch64' that it replaced cannot be made again: there is no interpreter '{copy}' for the "
            "entry 'qemu-aarch64'"
        )
        assert binfmt.empty()
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "absent"),)

    in_own_namespace(action)
    assert not state.exists()
