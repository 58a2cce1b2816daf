"""The storage keeps what lists read, in a file that is of no consequence but time."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from polyarch.contract import Layout, layout_summaries
from polyarch_plugins.storages.oci import remembered
from polyarch_plugins.storages.oci import storage as module
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import made_image
from support.storages import Opener, store

ARM64, AMD64 = made_image("linux/arm64", b"arm64"), made_image("linux/amd64", b"amd64")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_summaries, "_clock", lambda: 1 << 62)
    monkeypatch.setattr(module, "WORTH_REMEMBERING", 1)


def _names(storage: OciStorage) -> list[str]:
    return [each.reference.familiar for each in storage.summaries()]


def test_a_list_is_remembered_and_follows_what_happens(open_at: Opener, place: Path) -> None:
    store(open_at(), ARM64, "a")
    assert _names(open_at()) == ["a:latest"]
    lines = (place / ".polyarch" / "summaries").read_bytes()
    assert _names(open_at()) == ["a:latest"]
    assert (place / ".polyarch" / "summaries").read_bytes() == lines
    store(open_at(), AMD64, "b")
    assert _names(open_at()) == ["a:latest", "b:latest"]
    open_at().remove(ARM64.stored_as("a").reference)
    assert _names(open_at()) == ["b:latest"]


def test_a_list_waits_for_no_lock(open_at: Opener, place: Path) -> None:
    store(open_at(), ARM64, "a")
    (place / ".polyarch" / "summaries").unlink()
    with (place / ".polyarch" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert _names(open_at()) == ["a:latest"]
    assert not (place / ".polyarch" / "summaries").exists()


def test_few_images_are_not_remembered(open_at: Opener, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_REMEMBERING", 2)
    store(open_at(), ARM64, "a")
    (place / ".polyarch" / "summaries").unlink()
    assert _names(open_at()) == ["a:latest"]
    assert not (place / ".polyarch" / "summaries").exists()


def test_a_memory_of_others_is_no_memory(open_at: Opener, place: Path) -> None:
    store(open_at(), ARM64, "a")
    (place / ".polyarch" / "summaries").write_bytes(b"something else")
    assert _names(open_at()) == ["a:latest"]
    assert _names(open_at()) == ["a:latest"]


def test_what_is_stored_is_remembered_and_read_by_no_list(
    open_at: Opener, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store(open_at(), ARM64, "a")
    store(open_at(), AMD64, "b")
    with monkeypatch.context() as patch:
        patch.setattr(Layout, "read_blob", None)
        assert _names(open_at()) == ["a:latest", "b:latest"]
        assert open_at().prune() == ()


def test_lines_that_are_past_go(open_at: Opener, place: Path) -> None:
    for _ in range(4):
        store(open_at(), ARM64, "a")
    store(open_at(), AMD64, "a")
    file = place / ".polyarch" / "summaries"
    assert len(file.read_bytes().splitlines()) == 5
    assert _names(open_at())[0] == "a:latest"
    assert len(file.read_bytes().splitlines()) == 2


@pytest.mark.parametrize("torn", [b"torn", b"\n", b"\xff" * 300, b"0" * 60], ids=["torn", "empty", "bytes", "long"])
def test_a_line_that_was_cut_off_takes_no_other_with_it(open_at: Opener, place: Path, torn: bytes) -> None:
    store(open_at(), ARM64, "a")
    with (place / ".polyarch" / "summaries").open("ab") as file:
        file.write(torn)
    store(open_at(), AMD64, "b")
    assert _names(open_at()) == ["a:latest", "b:latest"]
    assert open_at().prune() == ()


def test_a_memory_that_nobody_made_short_begins_anew(
    open_at: Opener, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remembered, "_MOST_BYTES", 100)
    for name in "abc":
        store(open_at(), ARM64, name)
    assert not (place / ".polyarch" / "summaries").exists() or (place / ".polyarch" / "summaries").stat().st_size < 4000
    assert _names(open_at()) == ["a:latest", "b:latest", "c:latest"]


def test_a_memory_that_cannot_be_written_stops_nothing(open_at: Opener, place: Path) -> None:
    store(open_at(), ARM64, "a")
    (place / ".polyarch" / "summaries").unlink()
    (place / ".polyarch" / "summaries").mkdir()
    store(open_at(), AMD64, "b")
    assert _names(open_at()) == ["a:latest", "b:latest"]
