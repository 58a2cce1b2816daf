"""The same with the kernel's own table, in a user namespace: the machine's is not touched."""

from __future__ import annotations

import errno
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyarch_platforms import architecture, binfmt, qemu
from polyarch_platforms.errors import BinfmtError
from support.isolation import without_privilege

pytestmark = pytest.mark.system

ARCHITECTURES = architecture.load()
ARM64 = ARCHITECTURES["arm64"]
InOwnNamespace = Callable[[Callable[[], Any]], Any]


@pytest.fixture
def emulator() -> qemu.QemuBinary:
    found = qemu.find(ARM64)
    if found is None:
        pytest.skip("there is no QEMU for arm64 on this machine")
    return found


def test_register_switch_and_unregister(in_own_namespace: InOwnNamespace, emulator: qemu.QemuBinary) -> None:
    def action() -> None:
        assert not binfmt.mounted()
        binfmt.mount()
        assert binfmt.table_enabled()
        assert binfmt.empty()
        line = binfmt.register_line(ARM64, str(emulator.path), "F")
        binfmt.register(line)
        assert not binfmt.empty()
        (entry,) = binfmt.registrations()
        assert entry == binfmt.parse_line(line)
        assert binfmt.matching(binfmt.registrations(), ARM64) == entry
        assert qemu.works(ARM64).reason is None

        with pytest.raises(BinfmtError, match="has an entry 'qemu-aarch64' already") as caught:
            binfmt.register(line)
        assert caught.value.errno == errno.EEXIST

        binfmt.enable(entry.name, False)
        assert binfmt.matching(binfmt.registrations(), ARM64) is None
        assert not qemu.works(ARM64).ok
        binfmt.enable(entry.name)
        assert qemu.works(ARM64).reason is None

        binfmt.unregister(entry.name)
        assert binfmt.registrations() == ()
        with pytest.raises(BinfmtError, match="cannot take 'qemu-aarch64'") as caught:
            binfmt.unregister(entry.name)
        assert caught.value.errno == errno.ENOENT
        binfmt.unmount()
        assert not binfmt.mounted()

    in_own_namespace(action)


def test_every_foreign_architecture_at_once(in_own_namespace: InOwnNamespace) -> None:
    def action() -> dict[str, qemu.Works]:
        binfmt.mount()
        for one in ARCHITECTURES.values():
            if not qemu.works(one).ok and (found := qemu.find(one)):
                binfmt.register(binfmt.register_line(one, str(found.path), found.flags))
        return {one.name: qemu.works(one, in_empty_root=True) for one in ARCHITECTURES.values()}

    missing = [one.name for one in ARCHITECTURES.values() if qemu.find(one) is None]
    if missing:
        pytest.skip(f"there is no QEMU for {', '.join(missing)} on this machine")
    ran = in_own_namespace(action)
    assert {name: result.output for name, result in ran.items()} == {name: f"linux/{name}" for name in ARCHITECTURES}
    assert all(result.ok for result in ran.values())


def test_the_newest_entry_comes_first_here_and_in_the_kernel(
    in_own_namespace: InOwnNamespace, emulator: qemu.QemuBinary
) -> None:
    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, "/bin/false", "", name="older"))
        assert not qemu.works(ARM64).ok
        binfmt.register(binfmt.register_line(ARM64, str(emulator.path), "F", name="newer"))
        assert [entry.name for entry in binfmt.registrations()] == ["newer", "older"]
        serving = binfmt.matching(binfmt.registrations(), ARM64)
        assert serving is not None
        assert serving.name == "newer"
        assert qemu.works(ARM64).reason is None

    in_own_namespace(action)


def test_with_flag_f_the_interpreter_must_be_there_and_is_kept(
    in_own_namespace: InOwnNamespace, emulator: qemu.QemuBinary, tmp_path: Path
) -> None:
    copy = tmp_path / "qemu-aarch64"

    def action() -> None:
        binfmt.mount()
        with pytest.raises(BinfmtError, match=f"no interpreter '{copy}'") as caught:
            binfmt.register(binfmt.register_line(ARM64, str(copy), "F"))
        assert caught.value.errno == errno.ENOENT
        shutil.copy(emulator.path, copy)
        binfmt.register(binfmt.register_line(ARM64, str(copy), "F"))
        copy.unlink()
        assert qemu.works(ARM64).reason is None
        assert qemu.works(ARM64, in_empty_root=True).reason is None

    in_own_namespace(action)


def test_without_flag_f_the_interpreter_is_looked_up_inside(
    in_own_namespace: InOwnNamespace, emulator: qemu.QemuBinary
) -> None:
    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(emulator.path), ""))
        assert qemu.works(ARM64).reason is None
        inside = qemu.works(ARM64, in_empty_root=True)
        assert not inside.ok
        assert inside.reason is not None
        assert "No such file or directory" in inside.reason

    in_own_namespace(action)


def _argv0(program: Path) -> str:
    """What a program sees as its argv[0]: busybox calls the applet of that name."""
    done = subprocess.run(["echo", "as echo"], executable=program, capture_output=True, text=True)
    return done.stdout.strip() or done.stderr.strip()


@pytest.mark.parametrize("folder", ["/usr/bin", "/usr/libexec/qemu-binfmt"])
def test_flag_p_gives_the_program_its_own_name(
    in_own_namespace: InOwnNamespace, foreign_busybox: Callable[[str], Path], folder: str
) -> None:
    binary = qemu.find(ARM64, [Path(folder)])
    if binary is None:
        pytest.skip(f"there is no QEMU for arm64 in {folder}")
    if not binary.preserve_argv0:
        pytest.skip(f"{binary.path} does not know flag P")
    busybox = foreign_busybox("arm64")

    def action() -> tuple[str, str]:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(binary.path), "FP"))
        with_p = _argv0(busybox)
        binfmt.unregister("qemu-aarch64")
        binfmt.register(binfmt.register_line(ARM64, str(binary.path), "F"))
        return with_p, _argv0(busybox)

    with_p, without_p = in_own_namespace(action)
    assert with_p == "as echo"
    assert without_p != "as echo"


def test_a_private_table_hides_the_one_around_it(in_own_namespace: InOwnNamespace, emulator: qemu.QemuBinary) -> None:
    def inner() -> None:
        binfmt.mount()
        assert binfmt.registrations() == ()
        assert not qemu.works(ARM64).ok

    def action() -> None:
        binfmt.mount()
        binfmt.register(binfmt.register_line(ARM64, str(emulator.path), "F"))
        in_own_namespace(inner)
        assert qemu.works(ARM64).reason is None

    in_own_namespace(action)


def test_an_ordinary_user_may_not_mount_the_machines_table() -> None:
    def action() -> None:
        with pytest.raises(BinfmtError, match=r"cannot mount binfmt_misc on /proc/sys/fs/binfmt_misc: Oper") as caught:
            binfmt.mount()
        assert (caught.value.errno, caught.value.hint) == (errno.EPERM, "run it as root")

    without_privilege(action)


def test_an_ordinary_user_may_not_write_a_table() -> None:
    with tempfile.TemporaryDirectory() as name:
        root = Path(name)
        root.chmod(0o755)
        (root / "register").touch(mode=0o400)

        def action() -> None:
            assert binfmt.mounted(root)
            with pytest.raises(BinfmtError, match="cannot register 'qemu-aarch64' in binfmt_misc: Perm") as caught:
                binfmt.register(binfmt.register_line(ARM64, "/usr/bin/qemu", ""), root)
            assert (caught.value.errno, caught.value.hint) == (errno.EACCES, "run it as root")

        without_privilege(action)
