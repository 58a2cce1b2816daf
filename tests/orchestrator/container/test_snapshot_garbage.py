"""Unpacked layers that nobody needs."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from polyarch.container.record import Record, new_id, now
from polyarch.container.rights import Rights, rights_at
from polyarch.container.snapshot_garbage import SnapshotGarbage
from polyarch.container.snapshots import keeping
from polyarch.container.state import Containers

A, B, C = ("a" * 64, "b" * 64, "c" * 64)


@pytest.fixture
def snapshots(tmp_path: Path) -> Path:
    """Layers A, B and C, and a half one, each with its lock."""
    folder = tmp_path / "snapshots"
    for name in (A, B, C, f".{C}.half"):
        (folder / "user" / name / "etc").mkdir(parents=True)
        (folder / "user" / name / "etc" / "file").write_bytes(b"x" * 10_000)
        os.link(folder / "user" / name / "etc" / "file", folder / "user" / name / "etc" / "again")
    (folder / "locks").mkdir()
    for name in (A, B, C):
        (folder / "locks" / name).touch()
    return folder


def container(root: Path, *layers: str) -> None:
    identifier = new_id()
    record = Record(identifier, identifier[:12], "x", "sha256:1", "linux/arm64", ("sh",), now(), layers, False)
    Containers(root / "containers", rights_at(root)).create(record).close()


def gone(root: Path, *needed: str, only: set[str] | None = None, dry_run: bool = False) -> list[tuple[str | None, int]]:
    garbage = SnapshotGarbage(root)
    with garbage.alone():
        with garbage.still():
            garbage.choose(needed, only=only, dry_run=dry_run)
        found = garbage.chosen()
        if not dry_run:
            garbage.delete()
    return found


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_what_neither_a_container_nor_an_image_needs_goes(tmp_path: Path, snapshots: Path) -> None:
    container(tmp_path, A)
    (snapshots / "locks" / "prune").touch()
    told = gone(tmp_path, B, dry_run=True)
    assert names(snapshots / "user") == {A, B, C, f".{C}.half"}
    assert gone(tmp_path, B) == told
    assert {digest for digest, _ in told} == {f"sha256:{C}", None}
    assert all(10_000 <= size < 30_000 for _, size in told), "a file with two names takes its space once"
    assert names(snapshots / "user") == {A, B}
    assert names(snapshots / "locks") == {A, B, "prune", "preparing"}


def test_only_those_named(tmp_path: Path, snapshots: Path) -> None:
    assert [digest for digest, _ in gone(tmp_path, A, only={A, B})] == [f"sha256:{B}"]
    assert names(snapshots / "user") == {A, C, f".{C}.half"}


def test_what_is_being_unpacked_stays(tmp_path: Path, snapshots: Path) -> None:
    with (snapshots / "locks" / C).open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        gone(tmp_path, A, B, C[:-1])
        assert names(snapshots / "user") == {A, B, f".{C}.half"}
        assert C in names(snapshots / "locks")


def test_while_layers_are_made_ready_all_stay(tmp_path: Path, snapshots: Path) -> None:
    all_of_them = names(snapshots / "user")
    with keeping(snapshots), keeping(snapshots):
        assert gone(tmp_path) == []
        assert names(snapshots / "user") == all_of_them
    gone(tmp_path)
    assert names(snapshots / "user") == set()


def test_a_record_that_cannot_be_read_keeps_all(tmp_path: Path, snapshots: Path) -> None:
    container(tmp_path, A)
    (folder,) = [path for path in (tmp_path / "containers").iterdir() if path.is_dir()]
    (folder / "container.json").write_text('{"version": 99}')
    assert gone(tmp_path) == []
    assert names(snapshots / "user") == {A, B, C, f".{C}.half"}


def test_a_container_that_is_being_made_keeps_its_layers(tmp_path: Path, snapshots: Path) -> None:
    identifier = new_id()
    record = Record(identifier, "web", "x", "sha256:1", "linux/arm64", ("sh",), now(), (A, B), False)
    containers = Containers(tmp_path / "containers", Rights("user", None))
    made = containers.create(record, whole=False)
    gone(tmp_path)
    assert names(snapshots / "user") == {A, B}
    assert containers.records() == []
    made.made()
    assert [each.name for each in containers.records()] == ["web"]
    made.close()


def test_one_that_was_killed_while_it_was_made_is_nowhere(tmp_path: Path, snapshots: Path) -> None:
    identifier = new_id()
    record = Record(identifier, "web", "x", "sha256:1", "linux/arm64", ("sh",), now(), (A, B), False)
    containers = Containers(tmp_path / "containers", Rights("user", None))
    containers.create(record, whole=False).close()
    gone(tmp_path)
    assert names(snapshots / "user") == set()
    assert names(tmp_path / "containers") == {"lock"}


def test_nothing_was_ever_unpacked(tmp_path: Path) -> None:
    assert gone(tmp_path) == []
    assert not (tmp_path / "snapshots").exists()
