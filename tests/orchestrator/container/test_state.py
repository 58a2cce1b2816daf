from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.container import state
from polyarch.container.lifecycle import remove_container, stop_container
from polyarch.container.record import MAKING, RECORD, Record, new_id, now
from polyarch.container.rights import Rights
from polyarch.container.state import Container, Containers
from polyarch.errors import NotFoundError, StorageError, UsageError

RIGHTS = Rights("trusted", None)


@pytest.fixture
def containers(tmp_path: Path) -> Containers:
    return Containers(tmp_path / "containers", RIGHTS)


def record(name: str = "", *, rm: bool = False) -> Record:
    identifier = new_id()
    return Record(
        id=identifier,
        name=name or identifier[:12],
        image="docker.io/library/x:1",
        manifest="sha256:1",
        platform="linux/arm64",
        command=("sh", "-c"),
        created=now(),
        layers=("aa", "bb"),
        rm=rm,
    )


def abandon(container: Container) -> None:
    """What a killed process leaves: the directory, with its lock free."""
    container.close()


def test_a_container_and_its_record(containers: Containers, tmp_path: Path) -> None:
    container = containers.create(record("web"))
    directory = tmp_path / "containers" / container.record.id
    assert {path.name for path in directory.iterdir()} >= {"upper", "work", "rootfs", "runtime", "lock"}
    assert directory.stat().st_mode & 0o777 == 0o700
    assert list(containers.records()) == [container.record]
    container.started(77)
    assert [(each.status, each.pid) for each in containers.records()] == [("running", 77)]
    document = json.loads((directory / "container.json").read_text())
    assert document["name"] == "web"
    assert document["command"] == ["sh", "-c"]
    assert document["created"].endswith("+00:00")
    container.remove(RIGHTS)
    container.close()
    assert list(containers.records()) == []
    assert not directory.exists()


def test_a_name_is_given_once(containers: Containers) -> None:
    first = containers.create(record("web"))
    with pytest.raises(UsageError, match=f"'web' is in use by {first.record.id[:12]}"):
        containers.create(record("web"))
    first.remove(RIGHTS)
    containers.create(record("web")).close()


def test_a_container_whose_process_died_has_exited(containers: Containers) -> None:
    container = containers.create(record())
    container.started(77)
    abandon(container)
    assert [(each.status, each.pid, each.exit_code) for each in containers.records()] == [("exited", 0, 137)]


def test_the_next_one_removes_what_was_to_go(containers: Containers, tmp_path: Path) -> None:
    kept, gone = containers.create(record("kept")), containers.create(record("gone", rm=True))
    held = containers.create(record("held", rm=True))
    (gone.directory / "upper" / "sealed").mkdir()
    (gone.directory / "upper" / "sealed").chmod(0)
    abandon(kept)
    abandon(gone)
    half = tmp_path / "containers" / ("0" * 64)
    (half / "upper").mkdir(parents=True)
    containers.create(record("new")).close()
    assert sorted(each.name for each in containers.records()) == ["held", "kept", "new"]
    assert not half.exists()
    assert not gone.directory.exists()
    held.close()


@pytest.mark.parametrize("content", ["", "{", "[]", "{}", '{"id": 1}', "\0" * 100])
def test_a_container_with_a_damaged_record_is_seen_and_can_go(content: str, containers: Containers) -> None:
    container = containers.create(record("web"))
    (container.directory / "container.json").write_text(content)
    abandon(container)
    identifier = container.directory.name
    containers.sweep()
    [seen] = containers.records()
    assert (seen.id, seen.status, seen.pid) == (identifier, "damaged", 0)
    with containers.still() as (records, broken):
        assert (records, broken) == ([], [container.directory])
    with pytest.raises(StorageError, match="is damaged") as caught:
        containers.find(identifier)
    assert f"polyarch rm -f {identifier[:12]}" in str(caught.value.hint)
    remove_container(containers, containers.find(identifier, damaged=True), force=True)
    assert not container.directory.exists()


def test_what_is_left_of_a_damaged_record_names_it(containers: Containers) -> None:
    container = containers.create(record("web"))
    path = container.directory / "container.json"
    path.write_bytes(b"{" + path.read_bytes())
    [seen] = containers.records()
    assert (seen.name, seen.image) == ("web", "docker.io/library/x:1")
    with pytest.raises(UsageError, match="in use"):
        containers.create(record("web"))
    abandon(container)
    with pytest.raises(UsageError, match="in use"):
        containers.create(record("web"))


def test_a_container_that_is_being_made_is_not_damaged(containers: Containers) -> None:
    making = containers.create(record(), whole=False)
    assert containers.records() == []
    abandon(making)


def test_ids_do_not_repeat() -> None:
    assert len({record().id for _ in range(100)}) == 100


def test_records_are_values() -> None:
    made = record()
    assert replace(made, status="running") != made
    assert os.path.basename(made.id) == made.id  # noqa: PTH119  # a name, and no path


def test_one_that_waits_for_its_start_is_created_until_then(containers: Containers) -> None:
    waiting = containers.create(record("waiting", rm=True), b"{}")
    half_made = containers.create(record("half-made"))
    for each in (waiting, half_made):
        abandon(each)
    containers.sweep()
    found = {each.name: each.status for each in containers.records()}
    assert found == {"waiting": "created", "half-made": "exited"}


def test_one_that_waits_can_be_stopped_and_removed(containers: Containers) -> None:
    waiting = containers.create(record("waiting"), b"{}")
    waiting.close()
    stop_container(containers, waiting.record, 0)
    remove_container(containers, waiting.record, force=True)
    assert containers.records() == []


def test_who_holds_one_keeps_others_away(containers: Containers) -> None:
    containers.create(record("web"), b"{}").close()
    held = containers.hold(containers.find("web"))
    assert containers.in_use(held.record)
    assert containers.find("web").status == "created"
    with pytest.raises(UsageError, match="runs, or is being used"):
        containers.hold(held.record)
    with pytest.raises(UsageError, match="is being used"):
        containers.remove(held.record)
    with pytest.raises(UsageError, match="just being started"):
        stop_container(containers, held.record, 0)
    held.close()
    assert not containers.in_use(held.record)
    containers.remove(held.record)
    with pytest.raises(NotFoundError, match="the container web is gone"):
        containers.hold(held.record)


def test_a_second_start_forgets_the_first_end(containers: Containers) -> None:
    container = containers.create(record("again"), b"{}")
    container.started(77)
    container.ended(3)
    container.starts_by("runc", detached=True)
    container.started(78)
    found = containers.find("again")
    assert (found.status, found.pid, found.exit_code, found.finished) == ("running", 78, None, "")
    assert (found.runtime, found.detached) == ("runc", True)
    abandon(container)
    assert (containers.find("again").status, containers.find("again").exit_code) == ("exited", 137)


def test_one_that_is_made_while_others_look_is_seen(containers: Containers, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever removes what no container needs must not miss one that is under neither name at the moment it looks."""
    container = containers.create(record("web"), whole=False)
    read = state.read_record

    def read_and_made(directory: Path, name: str = RECORD) -> Record | None:
        found = read(directory, name)
        if (directory / MAKING).exists():
            container.made()
        return found

    monkeypatch.setattr(state, "read_record", read_and_made)
    with containers.still() as (records, _):
        assert [each.name for each in records] == ["web"]
    container.close()
