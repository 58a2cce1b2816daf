"""Faults of registries, each met by the command itself: the right end, one clear line, and nothing left behind.

What each registry does is data: support.registry_faults. What other clients do with the same is in docs/trust.md.
"""

from __future__ import annotations

import hashlib
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.command import NO_FILES_OF_THE_MACHINE
from support.forked_commands import ForkedCommands, Ran
from support.registry_auth import write_auth_file
from support.registry_faults import CASES, answer
from support.registry_faults.case import Case
from support.registry_faults.server import FaultServer

pytestmark = pytest.mark.system

MEMORY = 256 << 20
SECONDS = 30
SETTINGS = "retries = 1\nread_timeout = 0.5\nconnect_timeout = 2.0\n"
_SAMPLE = 6
"""`make test` runs one case in so many, another one each time the cases change; `make soak` runs them all."""

_ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


@pytest.fixture(scope="module")
def server() -> Iterator[FaultServer]:
    server = FaultServer(answer)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def commands() -> Iterator[ForkedCommands]:
    commands = ForkedCommands()
    yield commands
    commands.stop()


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
    found = []
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    if ran.code != case.code:
        found.append(f"ended with {ran.code}, not with {case.code}")
    if len(errors) != (1 if case.code else 0):
        found.append(f"{len(errors)} error lines")
    if case.code and not re.search(case.says, errors[0] if errors else ""):
        found.append(f"does not say {case.says!r}")
    if "Traceback" in ran.told or "a defect in polyarch" in ran.told:
        found.append("a defect")
    if _ESCAPES.search(ran.told):
        found.append("control characters")
    if ran.memory > MEMORY:
        found.append(f"{ran.memory >> 20} MiB of memory")
    if ran.seconds > SECONDS:
        found.append(f"{ran.seconds:.0f} s")
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


def _parameters() -> Iterator[object]:
    ordered = sorted(CASES.values(), key=lambda case: zlib.crc32(case.name.encode()))
    sample = {case.name for case in [case for case in ordered if not case.heavy][::_SAMPLE]}
    for case in CASES.values():
        yield pytest.param(case, id=case.name, marks=() if case.name in sample else pytest.mark.costly)


@pytest.mark.parametrize("case", list(_parameters()))
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
