"""Layers that are hostile or odd, each met by the commands that read layers: one right end, and nothing left behind.

What each layer is stands as data in support.hostile_layers; what others do with the same is in docs/trust.md.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from support.ended_commands import sampled
from support.forked_commands import ForkedCommands
from support.hostile_layers import CASES
from support.hostile_layers.case import Case
from support.hostile_layers.trial import Trial
from support.layers import listing
from support.small_disk import SmallDisk

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="owners, devices and mounts take root"),
]

_SAMPLE = 20
"""One case in so many for `make test`; tests/orchestrator/unpack/test_layer_cases.py has them all."""


@contextmanager
def _empty_disk(folder: Path, place: Path) -> Iterator[None]:
    """How long ext4 takes for 100,000 directories depends on what it holds: 10 to 40 seconds on one disk."""
    disk = SmallDisk(folder, place, size=8 << 30, inodes=1_500_000)
    disk.begin()
    try:
        yield
    finally:
        disk.unmount()


@pytest.mark.parametrize("case", list(sampled(CASES, _SAMPLE)))
def test_a_layer(case: Case, commands: ForkedCommands, tmp_path: Path) -> None:
    outside, home = tmp_path / "outside", tmp_path / "home"
    for folder in (outside, home):
        folder.mkdir()
    (outside / "secret").write_text("secret")
    before = listing(outside)
    trial = Trial(case, commands, home)
    with _empty_disk(tmp_path, home) if case.heavy else nullcontext():
        try:
            assert trial.faults() == []
        finally:
            print(f"{case.name}: {trial.memory >> 20} MiB, {trial.seconds:.1f} s, {trial.cpu:.1f} s of CPU")
            trial.clean()
    assert listing(outside) == before
    assert {path.name for path in tmp_path.iterdir()} == {"outside", "home"}
