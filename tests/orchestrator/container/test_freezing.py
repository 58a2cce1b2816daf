"""Containers that are to stand still: here with a plain file for the kernel's switch."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.container import cgroups
from polyarch.container.cgroups import frozen
from polyarch.errors import HostError


@pytest.fixture
def switch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that has what was written to it, as version 1's does."""
    file = tmp_path / "freezer.state"
    made = cgroups._Switch(file, "FROZEN", "THAWED", file, "FROZEN")
    monkeypatch.setattr(cgroups, "_switch", lambda identifier: made)
    file.touch()
    return file


def test_it_goes_on_afterwards(switch: Path) -> None:
    with frozen("x") as still:
        assert (still, switch.read_text()) == (True, "FROZEN")
    assert switch.read_text() == "THAWED"


def test_it_goes_on_after_a_failure(switch: Path) -> None:
    with pytest.raises(ValueError, match="within"), frozen("x"):
        raise ValueError("within")
    assert switch.read_text() == "THAWED"


def test_one_that_has_ended(switch: Path) -> None:
    switch.parent.rename(switch.parent.with_name("gone"))
    with pytest.raises(HostError, match="cannot be made to stand still: No such file"), frozen("x"):
        pytest.fail("it is gone")


def test_one_that_does_not_stand_still(switch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cgroups, "_FREEZES_WITHIN", -1.0)
    deaf = cgroups._Switch(switch, "FROZEN", "THAWED", switch, "never")
    monkeypatch.setattr(cgroups, "_switch", lambda identifier: deaf)
    with pytest.raises(HostError, match="do not stand still"), frozen("x"):
        pytest.fail("it goes on")
    assert switch.read_text() == "THAWED"
