"""Foreign root file systems for the tests of this folder, made once for all of pytest's workers."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support import foreign_root
from support.disk_cases import DiskSite
from support.docker_registry import DockerRegistry
from support.fleet_lab import SAMPLE, WHOLE, Lab, NoLab
from support.fleet_site import FleetSite
from support.foreign_root import NoForeignRoot
from support.forked_commands import ForkedCommands
from support.registry_auth import PASSWORD, USERNAME


@pytest.fixture(scope="session")
def debian_root(test_cache: Path) -> Callable[[str], Path]:
    """Debian's name of an architecture -> a root file system with Python, apt and crun inside. Read it only."""

    def root(architecture: str) -> Path:
        with _skipped():
            return foreign_root.debian_root(architecture, test_cache)

    return root


@pytest.fixture(scope="session")
def debian_layout(test_cache: Path) -> Callable[[str], Path]:
    """Debian's name of an architecture -> the same root as the image `debian` in an OCI image layout."""

    def layout(architecture: str) -> Path:
        with _skipped():
            return foreign_root.debian_layout(architecture, test_cache)

    return layout


@pytest.fixture(scope="module")
def commands() -> Iterator[ForkedCommands]:
    """Runs polyarch's commands, each by a fork of a process that has its modules."""
    commands = ForkedCommands()
    yield commands
    commands.stop()


@pytest.fixture(scope="session")
def polyarch_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkout's polyarch and what it needs, as pure Python packages in one folder."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if os.environ.get("PYTEST_XDIST_WORKER") else base
    folder = shared / "polyarch-packages"
    with (shared / "polyarch-packages.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            made = tmp_path_factory.mktemp("packages") / "made"
            with _skipped():
                foreign_root.polyarch_packages(made)
            made.rename(folder)
    return folder


@pytest.fixture(scope="session")
def site(
    registry: DockerRegistry,
    authed_registry: DockerRegistry,
    foreign_busybox: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> DiskSite:
    """Where commands meet faults of the disk: `support.disk_cases`."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount, and be asked for the system calls of others")
    names = {"REGISTRY": registry.address, "AUTHED": authed_registry.address}
    names |= {"USERNAME": USERNAME, "PASSWORD": PASSWORD}
    return DiskSite(tmp_path_factory.mktemp("disk"), foreign_busybox("amd64"), names)


@pytest.fixture(scope="session")
def fleet_site(
    registry: DockerRegistry,
    foreign_busybox: Callable[[str], Path],
    test_cache: Path,
    soak: bool,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FleetSite]:
    """A lab of real devices that runs, four of them, or in `make soak` one of every kind: see support.fleet_lab.

    Use images of your own names only, and leave the devices as they were but for images.
    """
    folder = tmp_path_factory.mktemp("fleet-site")
    try:
        lab = Lab(WHOLE if soak else SAMPLE, folder / "lab", test_cache).__enter__()
    except NoLab as error:
        pytest.skip(f"no lab of devices can be made: {error}")
    yield FleetSite(lab, registry, folder, foreign_busybox)
    lab.close()


@contextmanager
def _skipped() -> Iterator[None]:
    try:
        yield
    except NoForeignRoot as error:
        pytest.skip(f"no foreign root file system can be made: {error}")
