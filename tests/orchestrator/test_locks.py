"""Locks on files: how they are waited for, and what is told of who holds them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from polyarch import locks
from polyarch.errors import StorageError
from polyarch.locks import Patience, life_of_holder, open_locked, try_lock


def test_a_lock_is_waited_for_as_long_as_its_holder_gets_on(tmp_path: Path) -> None:
    signs = iter(range(1000))
    patience = Patience(tmp_path, "it", 0, lambda: next(signs))
    for _ in range(5):
        patience.wait()
    silent = Patience(tmp_path, "it", 0, lambda: 7)
    with pytest.raises(StorageError, match="it is locked by another process"):
        silent.wait()


def test_a_lock_on_a_file_that_has_another_name_by_now_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between opening and locking, the one before may have put its finished file into place."""
    path = tmp_path / "file"
    path.write_text("finished by the one before")

    def lock_late(descriptor: int, *, wait: bool, shared: bool) -> bool:
        if not (tmp_path / "done").exists():
            path.rename(tmp_path / "done")
        return try_lock(descriptor, wait=wait, shared=shared)

    monkeypatch.setattr(locks, "try_lock", lock_late)
    descriptor = open_locked(path, pytest.fail)
    assert os.fstat(descriptor).st_size == 0
    assert os.fstat(descriptor).st_ino == path.stat().st_ino
    os.close(descriptor)


def test_who_is_waited_for_is_told_once_and_only_after_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "lock"
    held = open_locked(path)
    told: list[str] = []
    signs = iter(range(1000))
    patience = Patience(path, "it", 0, lambda: next(signs), told.append)
    patience.wait()
    assert told == []
    monkeypatch.setattr(locks, "_A_MOMENT", 0)
    for _ in range(3):
        patience.wait()
    assert told == [f"process {os.getpid()} ({Path('/proc/self/comm').read_text().strip()})"]
    os.close(held)


def test_the_sign_of_life_of_a_holder_is_the_work_that_it_does(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    held = open_locked(path)
    assert any(life_of_holder(path) == life_of_holder(path) for _ in range(1000))
    before, begun = life_of_holder(path), os.times()
    while sum(os.times()[:2]) - sum(begun[:2]) < 0.05:
        pass
    assert life_of_holder(path) != before
    os.close(held)
    # A lock that nobody is seen to hold says nothing: each sign is another one.
    assert life_of_holder(path) != life_of_holder(path)
