"""Fixtures of the platforms' tests: QEMU's real script, Debian's update-binfmts, and a binfmt_misc of one's own."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyarch_platforms import architecture, binfmt, qemu, qemu_script
from polyarch_platforms.errors import BinfmtError
from polyarch_platforms.qemu import QemuBinary
from support.debian_files import NotToBeHad, from_package, from_source_package
from support.isolation import CannotIsolate, isolated, mount_tmpfs

BINFMT_D = Path("/etc/binfmt.d")


@pytest.fixture(scope="session")
def qemu_binfmt_conf(test_cache: Path) -> Path:
    """QEMU's own scripts/qemu-binfmt-conf.sh, out of Debian's source package (fetched once, 23 MB)."""
    try:
        return from_source_package("qemu", "scripts/qemu-binfmt-conf.sh", test_cache)
    except NotToBeHad as error:
        pytest.skip(f"QEMU's qemu-binfmt-conf.sh cannot be fetched: {error}")


@pytest.fixture(scope="session")
def update_binfmts(test_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with Debian's update-binfmts, out of the package binfmt-support, which stays uninstalled."""
    try:
        program = from_package("binfmt-support", "usr/sbin/update-binfmts", test_cache)
        library = from_package("libpipeline1", "usr/lib/*/libpipeline.so.1", test_cache)
    except NotToBeHad as error:
        pytest.skip(f"Debian's update-binfmts cannot be fetched: {error}")
    folder = tmp_path_factory.mktemp("update-binfmts")
    start = folder / "update-binfmts"
    start.write_text(f'#!/bin/sh\nLD_LIBRARY_PATH="{library.parent}" exec "{program}" "$@"\n')
    start.chmod(0o755)
    return folder


def _mounts() -> None:
    binfmt.mount()


@pytest.fixture(scope="session")
def in_own_namespace() -> Callable[[Callable[[], Any]], Any]:
    """Runs a function as root of a new user and mount namespace, where binfmt_misc can be mounted and is not yet."""
    try:
        isolated(_mounts)
    except CannotIsolate as error:
        pytest.skip(str(error))
    except AssertionError as error:
        if BinfmtError.__name__ not in str(error):
            raise
        pytest.skip("this kernel gives a user namespace no binfmt_misc of its own (Linux >= 6.7 does)")
    return isolated


@pytest.fixture
def emulator() -> QemuBinary:
    """The machine's QEMU for arm64. There are others, too."""
    found = {name: qemu.find(architecture.load()[name]) for name in ("arm64", "arm", "s390x")}
    if missing := [name for name, binary in found.items() if binary is None or not binary.static]:
        pytest.skip(f"there is no static QEMU for {', '.join(missing)} on this machine")
    emulator = found["arm64"]
    assert emulator is not None
    return emulator


@pytest.fixture
def state(tmp_path: Path) -> Path:
    """A place for the record, two folders of which do not exist yet."""
    return tmp_path / "made" / "emulators"


@pytest.fixture(params=["the real script", "no script"])
def script(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Path | None:
    """QEMU's real script, or None on a machine that has none; the one that runs the tests may have it."""
    if request.param == "no script":
        monkeypatch.setattr(qemu_script, "NAME", "no-such-script.sh")
        return None
    path: Path = request.getfixturevalue("qemu_binfmt_conf")
    return path


@pytest.fixture
def systemd_runs() -> Callable[[], None]:
    """For a namespace: what a machine has that systemd booted (sd_booted(3)), and an empty /etc/binfmt.d."""
    if not BINFMT_D.is_dir():
        pytest.skip(f"this machine has no {BINFMT_D}, which systemd's package brings")

    def prepare() -> None:
        mount_tmpfs(Path("/run"))
        Path("/run/systemd/system").mkdir(parents=True)
        mount_tmpfs(BINFMT_D)

    return prepare


@pytest.fixture
def debian(update_binfmts: Path) -> Callable[[], None]:
    """For a namespace: update-binfmts on PATH, with a table of its own that is empty."""

    def prepare() -> None:
        os.environ["PATH"] = f"{update_binfmts}:{os.environ['PATH']}"
        mount_tmpfs(Path("/var/lib"))
        Path("/var/lib/binfmts").mkdir()
        mount_tmpfs(Path("/run"))  # no systemd here

    return prepare
