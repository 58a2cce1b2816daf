"""A real sshd for each of pytest's workers, and fleets of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from support.ansible_fleet import Fleet, make_fleet
from support.sshd import Sshd


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """A running sshd; see `support.sshd` for its hosts."""
    server = Sshd(tmp_path_factory.mktemp("sshd"))
    yield server
    server.stop()


@pytest.fixture
def fleet(tmp_path: Path) -> Callable[..., Fleet]:
    """`fleet(name={variables})`: an inventory with these hosts; an underscore in a name stands for a hyphen."""
    if not (Path(sys.executable).parent / "ansible-playbook").exists():
        pytest.skip("ansible-core is not installed beside this Python")

    def made(environ: Mapping[str, str] | None = None, listed: bool = False, **hosts: Mapping[str, object]) -> Fleet:
        return make_fleet(tmp_path, hosts, environ or {}, listed=listed)

    return made
