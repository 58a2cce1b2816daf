"""What tests of several rooms of the core need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch_plugins.storages.oci.storage import OciStorage


@pytest.fixture
def storage(tmp_path: Path) -> Iterator[OciStorage]:
    """An empty local storage."""
    opened = OciStorage(tmp_path / "storage", lock_timeout=5, sync=False)
    yield opened
    opened.close()
