"""A storage of the kind `oci`, new for each test."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch_plugins.storages.oci.storage import OciStorage
from support.storages import Opener


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """The folder of `storage`; nothing is there yet."""
    return tmp_path / "storage"


@pytest.fixture
def open_at(place: Path) -> Iterator[Opener]:
    """Opens the storage at `place` once more, as another process would."""
    opened: list[OciStorage] = []

    def at(directory: Path = place, *, lock_timeout: float = 30.0, sync: bool = False) -> OciStorage:
        opened.append(OciStorage(directory, lock_timeout=lock_timeout, sync=sync))
        return opened[-1]

    yield at
    for storage in opened:
        storage.close()


@pytest.fixture
def storage(open_at: Opener) -> OciStorage:
    """An empty storage."""
    return open_at()
