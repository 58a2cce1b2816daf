from __future__ import annotations

from pathlib import Path

import pytest

from support.small_images import SmallStorage


@pytest.fixture
def small_storage(tmp_path: Path) -> SmallStorage:
    """An empty storage that the test fills."""
    folder = tmp_path / "blobs"
    folder.mkdir()
    return SmallStorage(folder)
