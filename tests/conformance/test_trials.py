"""What the kit tries plugins with: processes that are forked, started anew and killed, threads, memory, errors."""

from __future__ import annotations

import functools
import os
import time
from pathlib import Path

import pytest

from polyarch.contract import NotFoundError, StorageError
from polyarch.testing.conformance import trials
from polyarch.testing.conformance.storage_base import Opener, put_anew, put_half_and_die
from polyarch.testing.conformance.trials import Hangs, die, in_processes, in_threads, killed, memory, refused
from support.plain_storage import PlainStorage
from support.storages import descriptor_of

EACH_WAY = pytest.mark.parametrize("forks", [True, False], ids=["forked", "started"])


def _note(folder: Path, name: str) -> None:
    (folder / name).write_text(str(os.getpid()))


def children() -> set[str]:
    """The processes that this one has started and that are there; Python's own tracker under that name."""
    found = set()
    for task in Path("/proc/self/task").iterdir():
        for pid in (task / "children").read_text().split():
            line = Path("/proc", pid, "cmdline").read_bytes().decode()
            found.add("resource_tracker" if "resource_tracker" in line else pid)
    return found


def _wrong() -> None:
    raise NotFoundError("not here")


@EACH_WAY
def test_each_work_is_done_in_a_process_of_its_own(forks: bool, tmp_path: Path) -> None:
    in_processes([functools.partial(_note, tmp_path, name) for name in "ab"], forks=forks)
    assert len({path.read_text() for path in tmp_path.iterdir()} - {str(os.getpid())}) == 2


@EACH_WAY
def test_what_is_raised_there_is_told_here(forks: bool) -> None:
    with pytest.raises(AssertionError, match=r"in another process:\n(?s:.*)NotFoundError: not here"):
        in_processes([_wrong], forks=forks)


@EACH_WAY
def test_a_process_is_killed_in_the_midst(forks: bool, tmp_path: Path) -> None:
    open_storage: Opener = functools.partial(PlainStorage, tmp_path)
    blob = descriptor_of(b"all of it")
    killed(functools.partial(put_half_and_die, open_storage, blob, b"all "), forks=forks)
    assert not open_storage().has_blob(blob)
    assert open_storage().partial(blob.digest).read_bytes() == b"all "  # type: ignore[attr-defined]
    in_processes([functools.partial(put_anew, open_storage, blob, b"all of it")], forks=forks)
    assert open_storage().has_blob(blob)


@EACH_WAY
def test_a_process_that_was_to_die_and_lives_is_told(forks: bool) -> None:
    with pytest.raises(AssertionError, match="ended with 0"):
        killed(os.getpid, forks=forks)


@EACH_WAY
def test_a_process_that_dies_and_was_not_to_is_told(forks: bool) -> None:
    with pytest.raises(AssertionError, match="ended with -9"):
        in_processes([die], forks=forks)


@EACH_WAY
def test_processes_that_hang_are_ended(forks: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    before = children()
    monkeypatch.setattr(trials, "PATIENCE", 0.1)
    with pytest.raises(Hangs):
        in_processes([functools.partial(time.sleep, 600)] * 2, forks=forks)
    assert children() - before <= {"resource_tracker"}


def test_what_cannot_be_pickled_is_skipped() -> None:
    with pytest.raises(pytest.skip.Exception, match=r"functools\.partial"):
        in_processes([lambda: None], forks=False)


def test_threads_give_results_and_faults() -> None:
    assert in_threads([functools.partial(pow, 2, number) for number in range(4)]) == [1, 2, 4, 8]
    with pytest.raises(NotFoundError):
        in_threads([_wrong, os.getpid])


def test_memory_counts_what_is_held_at_once() -> None:
    with memory() as pieces:
        for _ in range(100):
            bytes(100_000)
    assert pieces.most < 300_000
    with memory() as whole:
        held = [bytes(100_000) for _ in range(100)]
    assert whole.most >= sum(map(len, held))


def test_a_refusal_says_what_is_wanted() -> None:
    with refused("it is not here", NotFoundError, StorageError):
        _wrong()
    with pytest.raises(AssertionError, match="it is full: wanted is StorageError, raised was NotFoundError: not here"):
        with refused("it is full", StorageError):
            _wrong()
    with pytest.raises(AssertionError, match="it is full: wanted is StorageError, nothing was raised"):
        with refused("it is full", StorageError):
            pass
