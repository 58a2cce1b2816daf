"""Installing and removing emulators with the kernel's own table, in a user namespace: the machine's is not touched."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyarch_platforms import architecture, binfmt, emulators, installer, qemu
from polyarch_platforms.binfmt import Registration
from polyarch_platforms.errors import QemuError
from polyarch_platforms.installer import Installed, Removed
from polyarch_platforms.qemu import QemuBinary
from polyarch_platforms.tiny import tiny_program
from support.isolation import without_privilege

pytestmark = pytest.mark.system

ARCHITECTURES = architecture.load()
ARM64, ARM, S390X = (ARCHITECTURES[name] for name in ("arm64", "arm", "s390x"))
WSL = b":WSLInterop:M::MZ::/bin/true:"
InOwnNamespace = Callable[[Callable[[], Any]], Any]


def only_entry(name: str = "qemu-aarch64") -> Registration:
    found = {entry.name: entry for entry in binfmt.registrations()}
    return found[name]


def test_install_status_test_remove(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, script: Path | None
) -> None:
    def action() -> None:
        assert not binfmt.mounted()
        assert not qemu.works(ARM64).ok
        (installed,) = installer.install([ARM64], script=script, state_dir=state)
        flags = "FP" if emulator.preserve_argv0 else "F"
        told = str(script) if script else None
        assert installed == Installed("arm64", "installed", str(emulator.path), flags, "kernel", None, told)

        (status,) = emulators.status([ARM64])
        assert (status.arch, status.platform, status.source) == ("arm64", "linux/arm64", "kernel")
        assert (status.registered, status.enabled, status.works, status.in_containers) == (True, True, True, True)
        assert (status.interpreter, sorted(status.flags)) == (str(emulator.path), sorted(flags))
        assert status.interpreter_version == ".".join(map(str, emulator.version or ()))
        assert qemu.works(ARM64).reason is None
        assert qemu.works(ARM64, in_empty_root=True).reason is None

        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "removed"),)
        assert not binfmt.mounted()
        assert not qemu.works(ARM64).ok

    in_own_namespace(action)
    assert not state.parent.exists()


def test_several_are_taken_away_one_by_one(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, script: Path | None
) -> None:
    def action() -> None:
        installer.install([ARM64, S390X], script=script, state_dir=state)
        installer.install([ARM], script=script, state_dir=state)
        assert {entry.name for entry in binfmt.registrations()} == {"qemu-aarch64", "qemu-s390x", "qemu-arm"}
        assert qemu.works(ARM).reason is None
        installer.remove([ARM64], state_dir=state)
        assert {entry.name for entry in binfmt.registrations()} == {"qemu-s390x", "qemu-arm"}
        told = installer.remove([ARM64, S390X, ARM], state_dir=state)
        assert [one.status for one in told] == ["absent", "removed", "removed"]
        assert not binfmt.mounted()

    in_own_namespace(action)
    assert not state.parent.exists()


def test_what_the_machine_runs_itself_is_never_registered(in_own_namespace: InOwnNamespace, state: Path) -> None:
    own = [one for one in ARCHITECTURES.values() if qemu.works(one).ok]
    assert own

    def action() -> None:
        for one in own:
            for force in (False, True):
                with pytest.raises(QemuError, match=f"this machine runs {one.name} programs itself"):
                    installer.install([one], force=force, state_dir=state)
        assert not binfmt.mounted()

    in_own_namespace(action)
    assert not state.parent.exists()


def test_an_emulator_is_never_registered_for_programs_like_itself(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, tmp_path: Path
) -> None:
    (tmp_path / "qemu-aarch64").write_bytes(tiny_program(ARM64))
    (tmp_path / "qemu-aarch64").chmod(0o755)

    def action() -> None:
        with pytest.raises(QemuError, match="is itself a program for arm64: it would be called for itself"):
            installer.install([ARM64], qemu_path=tmp_path, state_dir=state)
        assert not binfmt.mounted()

    in_own_namespace(action)


def test_an_emulator_that_does_not_run_programs_is_taken_out_again(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, tmp_path: Path
) -> None:
    program = tmp_path / "qemu-aarch64"
    program.write_bytes(tiny_program(ARCHITECTURES["amd64"]))
    program.chmod(0o755)
    if not qemu.works(ARCHITECTURES["amd64"]).ok:
        pytest.skip("this machine does not run amd64 programs")

    def action() -> None:
        with pytest.raises(QemuError, match="qemu-aarch64 does not run arm64 programs: it wrote something else"):
            installer.install([ARM64], qemu_path=tmp_path, state_dir=state)
        assert not binfmt.mounted()
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(emulator.path), "F"))
        with pytest.raises(QemuError, match="does not run arm64 programs"):
            installer.install([ARM64], qemu_path=tmp_path, force=True, state_dir=state)
        assert only_entry().interpreter == str(emulator.path)

    in_own_namespace(action)
    assert not state.parent.exists()


def test_nothing_is_changed_where_one_of_several_cannot_be_had(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, tmp_path: Path
) -> None:
    shutil.copy(emulator.path, tmp_path / "qemu-aarch64")

    def action() -> None:
        with pytest.raises(QemuError, match=f"no emulator for s390x: there is no {tmp_path}/qemu-s390x"):
            installer.install([ARM64, S390X], qemu_path=tmp_path, state_dir=state)
        assert not binfmt.mounted()

    in_own_namespace(action)
    assert not state.parent.exists()


def test_flag_f_takes_the_new_emulator_only_when_installed_again(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, tmp_path: Path
) -> None:
    copy = Path(shutil.copy(emulator.path, tmp_path / "qemu-aarch64"))

    def action() -> None:
        installer.install([ARM64], qemu_path=tmp_path, state_dir=state)
        copy.unlink()
        copy.write_bytes(tiny_program(ARCHITECTURES["amd64"]))
        copy.chmod(0o755)
        assert qemu.works(ARM64).reason is None
        with pytest.raises(QemuError, match="does not run arm64 programs"):
            installer.install([ARM64], qemu_path=tmp_path, state_dir=state)
        assert qemu.works(ARM64).reason is None  # the old one is still there
        (told,) = installer.install([ARM64], qemu_path=emulator.path.parent, qemu_suffix=suffix, state_dir=state)
        assert (told.status, told.interpreter) == ("installed", str(emulator.path))
        assert installer.remove([ARM64], state_dir=state) == (Removed("arm64", "removed"),)
        assert not binfmt.mounted()

    suffix = emulator.path.name.removeprefix("qemu-aarch64")
    in_own_namespace(action)


def test_flag_f_is_refused_to_an_emulator_that_is_not_static(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, tmp_path: Path
) -> None:
    shutil.copy(Path("/bin/true").resolve(), tmp_path / "qemu-aarch64")

    def action() -> None:
        with pytest.raises(QemuError, match="is not static"):
            installer.install([ARM64], qemu_path=tmp_path, fix_binary=True, state_dir=state)
        with pytest.raises(QemuError, match="does not know flag P"):
            installer.install([ARM64], qemu_path=tmp_path, preserve_argv0=True, state_dir=state)

    in_own_namespace(action)


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ({"fix_binary": False, "preserve_argv0": False}, ""),
        ({"fix_binary": True, "preserve_argv0": False}, "F"),
        ({"fix_binary": True, "preserve_argv0": False, "credential": True}, "OCF"),
        ({"fix_binary": False, "preserve_argv0": True}, "P"),
    ],
)
def test_the_options_are_the_flags(
    in_own_namespace: InOwnNamespace,
    emulator: QemuBinary,
    state: Path,
    script: Path | None,
    options: dict[str, bool],
    flags: str,
) -> None:
    if "P" in flags and not emulator.preserve_argv0:
        pytest.skip(f"{emulator.path} does not know flag P")

    def action() -> None:
        (told,) = installer.install([ARM64], script=script, state_dir=state, **options)
        assert sorted(only_entry().flags) == sorted(told.flags) == sorted(flags)
        (status,) = emulators.status([ARM64])
        assert status.works
        assert status.in_containers is ("F" in flags)
        assert status.note == (
            None if "F" in flags else "it does not work in containers: it is registered without flag F"
        )
        assert status.mend == (None if "F" in flags else "as root: polyarch emulator install --force arm64")
        installer.remove([ARM64], state_dir=state)

    in_own_namespace(action)


def test_path_and_suffix_name_the_emulator(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path, script: Path | None, tmp_path: Path
) -> None:
    shutil.copy(emulator.path, tmp_path / "qemu-aarch64.mine")

    def action() -> None:
        (told,) = installer.install(
            [ARM64], script=script, qemu_path=tmp_path, qemu_suffix=".mine", fix_binary=True, state_dir=state
        )
        assert told.interpreter == str(tmp_path / "qemu-aarch64.mine")
        with pytest.raises(QemuError, match=r"there is no qemu-s390x.mine on PATH"):
            installer.install([S390X], script=script, qemu_suffix=".mine", state_dir=state)
        installer.remove([ARM64], state_dir=state)

    in_own_namespace(action)
    assert not state.parent.exists()


def recorded(record: object) -> str:
    return json.dumps({"version": 1, "mounted_in_boot": "", "directories": [], "records": {"arm64": record}})


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "null", '{"version": 2}', '{"version": 1, "records": 3}'),
        *(recorded(3), recorded({}), recorded({"line": ":x:M::a:b:/c:", "way": "magic", "boot": ""})),
        *(recorded({"line": line, "way": "kernel", "boot": ""}) for line in ("x", 3, None)),
        recorded({"line": ":x:M::a:b:/c:", "way": "systemd", "boot": "", "file": 3}),
    ],
)
def test_a_record_that_cannot_be_read_is_told(state: Path, content: str) -> None:
    state.mkdir(parents=True)
    (state / "installed.json").write_text(content)
    with pytest.raises(QemuError, match=r"installed.json") as caught:
        installer.remove([ARM64], state_dir=state)
    assert "\n" not in caught.value.message
    assert (state / "installed.json").read_text() == content


def test_an_ordinary_user_is_told_to_be_root() -> None:
    def action() -> None:
        for change in (installer.install, installer.remove):
            with pytest.raises(QemuError, match="cannot keep a record in /proc/emulators") as caught:
                change([ARM64], state_dir=Path("/proc/emulators"))
            assert caught.value.hint in ("run it as root", None)

    without_privilege(action)


def test_two_at_once_both_end_up_in_the_record(
    in_own_namespace: InOwnNamespace, emulator: QemuBinary, state: Path
) -> None:
    def action() -> None:
        children = []
        for one in (ARM64, S390X, ARM):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    installer.install([one], state_dir=state)
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
        assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]
        assert {entry.name for entry in binfmt.registrations()} == {"qemu-aarch64", "qemu-s390x", "qemu-arm"}
        told = installer.remove([ARM64, S390X, ARM], state_dir=state)
        assert [one.status for one in told] == ["removed"] * 3
        assert not binfmt.mounted()

    in_own_namespace(action)
    assert not state.parent.exists()
