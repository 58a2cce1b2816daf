"""Faults of registries, each met by the command itself: the right end, one clear line, and nothing left behind.

What each registry does is data: support.registry_faults. What other clients do with the same is in docs/trust.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import NO_FILES_OF_THE_MACHINE
from support.ended_commands import SECONDS, sampled, wrong_end
from support.forked_commands import ForkedCommands, Ran
from support.registry_auth import write_auth_file
from support.registry_faults import CASES, answer
from support.registry_faults.case import Case
from support.registry_faults.server import FaultServer

pytestmark = pytest.mark.system

SETTINGS = "retries = 1\nread_timeout = 0.5\nconnect_timeout = 2.0\n"
_SAMPLE = 6


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    server = FaultServer(answer)
    yield server
    server.stop()


def run(commands: ForkedCommands, server: FaultServer, case: Case, home: Path) -> Ran:
    """The command of a case, with a storage and settings of its own."""
    (home / "polyarch.toml").write_text(SETTINGS)
    environ = {**NO_FILES_OF_THE_MACHINE, "POLYARCH_ROOT": str(home / "root")}
    environ["POLYARCH_CONFIG"] = str(home / "polyarch.toml")
    if case.secret:
        environ["REGISTRY_AUTH_FILE"] = str(write_auth_file(home / "auth.json", server.address))
    server.begin(case.name)
    return commands.run(home, [*case.command, f"{server.address}/{case.name}:1"], environ, seconds=SECONDS + 5)


def faults_of(ran: Ran, case: Case, server: FaultServer, home: Path) -> list[str]:
    """All that is wrong with how a command has ended."""
    found = wrong_end(ran, case.code, case.says, ran.seconds)
    if any(server.shown):
        found.append("credentials at another address")
    found += _left(home / "root", case)
    return found


def _left(root: Path, case: Case) -> Iterator[str]:
    """What is in the storage and should not be: names after a failure, blobs that are not what their name says."""
    for path in root.rglob("*"):
        if path.name == "index.json" and case.code and case.name in path.read_text():
            yield "a name after a failure"
        if path.parent.parent.name != "blobs" or not path.is_file():
            continue
        if hashlib.new(path.parent.name, path.read_bytes()).hexdigest() != path.name:
            yield f"the blob {path.name[:12]}, which it is not"


@pytest.mark.parametrize("case", list(sampled(CASES, _SAMPLE)))
def test_a_registry_that_fails(case: Case, server: FaultServer, commands: ForkedCommands, tmp_path: Path) -> None:
    canary, home = tmp_path / "canary", tmp_path / "home"
    canary.mkdir()
    home.mkdir()
    (canary / "file").write_text("as it was")
    ran = run(commands, server, case, home)
    assert faults_of(ran, case, server, home) == [], ran.told[-3000:]
    assert {path.name: path.read_text() for path in canary.iterdir()} == {"file": "as it was"}
    allowed = {"canary", "home", "root", "polyarch.toml", "auth.json", ".config", ".cache", ".local"}
    assert {path.name for folder in (tmp_path, home) for path in folder.iterdir()} <= allowed
