from __future__ import annotations

import shutil

import pytest

from polyarch.contract import EmulatorServices
from polyarch_platforms import qemu
from polyarch_platforms.architecture import get
from polyarch_plugins.emulators.qemu_user.plugin import polyarch_emulators


@pytest.mark.system
@pytest.mark.parametrize(("architecture", "name"), [("arm64", "aarch64"), ("arm", "arm"), ("s390x", "s390x")])
def test_the_hosts_qemu_is_found(architecture: str, name: str) -> None:
    if not shutil.which(f"qemu-{name}-static"):
        pytest.skip("qemu-user-static is not installed")
    (plugin,) = polyarch_emulators()
    known = get(architecture)
    assert known
    found = plugin.factory(EmulatorServices()).find(architecture)
    assert found == qemu.find(known)
    assert found
    assert found.path.name.startswith(f"qemu-{name}")


def test_an_unknown_architecture_has_no_emulator() -> None:
    (plugin,) = polyarch_emulators()
    assert plugin.factory(EmulatorServices()).find("vax") is None


def test_without_any_folder_there_is_no_emulator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(qemu, "_FOLDERS", ())
    (plugin,) = polyarch_emulators()
    assert plugin.factory(EmulatorServices()).find("arm64") is None
