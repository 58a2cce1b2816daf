"""The storage `oci` keeps every promise of the kit."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.contract import StorageServices
from polyarch.testing.conformance.storage import StorageConformance
from polyarch.testing.conformance.storage_base import Opener
from polyarch_plugins.storages.oci.storage import open_storage


class TestOci(StorageConformance):
    @pytest.fixture
    def open_storage(self, tmp_path: Path) -> Opener:
        return lambda: open_storage(StorageServices(tmp_path, sync=False))
