"""The storage keeps what lists read, in a file that is of no consequence but time."""

from __future__ import annotations

import fcntl
from pathlib import Path

import pytest

from polyarch.contract import layout_summaries
from polyarch_plugins.storages.oci import storage as module
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import made_image
from support.storages import Opener, store

ARM64, AMD64 = made_image("linux/arm64", b"arm64"), made_image("linux/amd64", b"amd64")


@pytest.fixture(autouse=True)
def _at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layout_summaries, "_FRESH", -1 << 62)
    monkeypatch.setattr(module, "WORTH_REMEMBERING", 1)


def _names(storage: OciStorage) -> list[str]:
    return [each.reference.familiar for each in storage.summaries()]


def test_a_list_is_remembered_and_follows_what_happens(open_at: Opener, place: Path) -> None:
    store(open_at(), ARM64, "a")
    assert _names(open_at()) == ["a:latest"]
    remembered = (place / ".polyarch" / "summaries").read_bytes()
    assert _names(open_at()) == ["a:latest"]
    assert (place / ".polyarch" / "summaries").read_bytes() == remembered
    store(open_at(), AMD64, "b")
    assert _names(open_at()) == ["a:latest", "b:latest"]
    open_at().remove(ARM64.stored_as("a").reference)
    assert _names(open_at()) == ["b:latest"]


def test_a_list_waits_for_no_lock(open_at: Opener, place: Path) -> None:
    store(open_at(), ARM64, "a")
    with (place / ".polyarch" / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert _names(open_at()) == ["a:latest"]
    assert not (place / ".polyarch" / "summaries").exists()


def test_few_images_are_not_remembered(open_at: Opener, place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "WORTH_REMEMBERING", 2)
    store(open_at(), ARM64, "a")
    assert _names(open_at()) == ["a:latest"]
    assert not (place / ".polyarch" / "summaries").exists()


def test_a_memory_of_others_is_no_memory(open_at: Opener, place: Path) -> None:
    store(open_at(), ARM64, "a")
    (place / ".polyarch" / "summaries").write_bytes(b"something else")
    assert _names(open_at()) == ["a:latest"]
    assert _names(open_at()) == ["a:latest"]
