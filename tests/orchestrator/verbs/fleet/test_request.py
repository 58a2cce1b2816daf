"""What a fleet is asked, written down for another process."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.errors import IntegrityError, UsageError
from polyarch.verbs.fleet.request import FleetRequest, request_from_json


def test_it_is_read_as_it_was_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file of the inventory is found from elsewhere, too; a list of hosts stays one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts").touch()
    written = FleetRequest(("hosts", "pi1,"), engine="podman", emulation="never", forks=3, timeout=7.5).to_json()
    monkeypatch.chdir("/")
    read = request_from_json(written)
    assert read == FleetRequest(
        (str(tmp_path / "hosts"), "pi1,"), engine="podman", emulation="never", forks=3, timeout=7.5
    )


def test_ansibles_own_inventory_is_that_of_the_folder_where_it_began(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    written = FleetRequest().to_json()
    assert request_from_json(written) == FleetRequest()
    monkeypatch.chdir("/")
    with pytest.raises(UsageError, match=f"it was begun in {tmp_path}"):
        request_from_json(written)


@pytest.mark.parametrize(
    "damage", [{"forks": 0}, {"timeout": "x"}, {"emulation": "maybe"}, {"inventory": [1]}], ids=str
)
def test_anything_else_is_an_error(damage: dict[str, object]) -> None:
    with pytest.raises(IntegrityError):
        request_from_json({**FleetRequest().to_json(), **damage})
