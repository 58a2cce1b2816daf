"""Layers that are hostile or odd, each met by the commands that read layers: one right end, and nothing left behind.

What each layer is stands as data in support.hostile_layers; what others do with the same is in docs/trust.md.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.forked_commands import ForkedCommands
from support.hostile_layers import CASES
from support.hostile_layers.case import Case
from support.hostile_layers.trial import Trial
from support.layers import listing

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and mounts take root"),
]

_SAMPLE = 20
"""`make test` runs one case in so many, `make soak` all; tests/orchestrator/unpack/test_layer_cases.py has them all."""


@pytest.fixture(scope="module")
def commands() -> Iterator[ForkedCommands]:
    commands = ForkedCommands()
    yield commands
    commands.stop()


def _parameters() -> Iterator[object]:
    ordered = sorted(CASES.values(), key=lambda case: zlib.crc32(case.name.encode()))
    sample = {case.name for case in [case for case in ordered if not case.heavy][::_SAMPLE]}
    for case in CASES.values():
        yield pytest.param(case, id=case.name, marks=() if case.name in sample else pytest.mark.costly)


@pytest.mark.parametrize("case", list(_parameters()))
def test_a_layer(case: Case, commands: ForkedCommands, tmp_path: Path) -> None:
    outside, home = tmp_path / "outside", tmp_path / "home"
    for folder in (outside, home):
        folder.mkdir()
    (outside / "secret").write_text("secret")
    before = listing(outside)
    trial = Trial(case, commands, home)
    try:
        assert trial.faults() == []
    finally:
        trial.clean()
    assert listing(outside) == before
    assert {path.name for path in tmp_path.iterdir()} == {"outside", "home"}
    print(f"{case.name}: {trial.memory >> 20} MiB, {trial.seconds:.1f} s, {trial.cpu:.1f} s of CPU")
