"""The storages `oci-archive` and `docker-archive` keep every promise of the kit, and so do the sources over them."""

from __future__ import annotations

from pathlib import Path

import pytest

from polyarch.contract import StorageServices
from polyarch.testing.conformance.loader import LoaderConformance
from polyarch.testing.conformance.loader_base import LoaderOpener
from polyarch_plugins.storages.archives.docker import DockerArchiveStorage
from polyarch_plugins.storages.archives.oci import OciArchiveStorage


class TestOciArchive(LoaderConformance):
    @pytest.fixture
    def open_loader(self, tmp_path: Path) -> LoaderOpener:
        return lambda: OciArchiveStorage(StorageServices(tmp_path, str(tmp_path / "images.tar"), sync=False))


class TestDockerArchive(LoaderConformance):
    several_platforms = False

    @pytest.fixture
    def open_loader(self, tmp_path: Path) -> LoaderOpener:
        return lambda: DockerArchiveStorage(StorageServices(tmp_path, str(tmp_path / "images.tar"), sync=False))
