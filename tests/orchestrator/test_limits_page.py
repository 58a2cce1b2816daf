"""docs/trust.md tells all limits, and what was run of registries' faults, layers and damaged storages."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from polyarch import limits
from support import state_peers as states
from support.hostile_layers import peers as layers
from support.registry_faults import CASES
from support.registry_faults.peers import BEGIN, END, KEPT, table

PAGE = Path(__file__).resolve().parents[2] / "docs" / "trust.md"
NAMES = [name for name in vars(limits) if name.isupper()]


def _shown(value: float) -> set[str]:
    """How a value may be written in the table."""
    found = {f"{value:,.0f}"}
    for size, unit in ((1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")):
        if value >= size and value % size == 0:
            found.add(f"{value // size:.0f} {unit}")
    return found


@pytest.mark.parametrize("name", NAMES)
def test_each_limit_is_told_with_its_value(name: str) -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|") and f"`{name}`" in line]
    assert rows or any(f"{name}`" in line for line in PAGE.read_text().splitlines())
    assert any(value in row for row in rows for value in _shown(getattr(limits, name)))


def test_the_faults_are_told_as_they_were_run() -> None:
    """After a change of the cases: `python -m support.registry_faults.peers` in `tests`, as root."""
    kept = json.loads(KEPT.read_text())
    assert set(kept["polyarch"]) == set(CASES)
    for case in CASES.values():
        expected = "pulls" if case.code == 0 else f"refuses ({case.code})"
        assert kept["polyarch"][case.name] == expected, case.name
    assert PAGE.read_text().partition(BEGIN)[2].partition(END)[0] == table(kept)


def test_layers_are_told_as_they_were_run() -> None:
    """After a change of the cases: `python -m support.hostile_layers.peers` in `tests`, as root."""
    kept = json.loads(layers.KEPT.read_text())
    cheap = {case.name for case in layers.CASES.values() if not case.heavy}
    assert all(cheap <= set(kept[client]) <= set(layers.CASES) for client in layers.CLIENTS)
    assert PAGE.read_text().partition(layers.BEGIN)[2].partition(layers.END)[0] == layers.table(kept)


def test_states_are_told_as_they_were_run() -> None:
    """After a change of the cases: `python -m support.state_peers` in `tests`, as root."""
    kept = json.loads(states.KEPT.read_text())
    lacking = {client: set(states.CASES) - set(kept[client]) for client in states.CLIENTS}
    assert lacking.pop("skopeo") == {"daemon-killed", "layer-turned", "unpacking-full"}  # it unpacks nothing
    assert lacking == {
        "polyarch": {"daemon-killed"},
        "docker": {"blob-turned"},
        "podman": {"daemon-killed", "blob-turned"},
    }
    for case in ("killed", "interrupted", "disk-full", "unpacking-full"):
        assert kept["polyarch"][case].endswith("goes on"), case
    assert kept["polyarch"]["power-cut"] == "there, and whole"
    assert PAGE.read_text().partition(states.BEGIN)[2].partition(states.END)[0] == states.table(kept)
