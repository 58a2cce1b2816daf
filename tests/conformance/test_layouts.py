"""The source `oci` keeps every promise of the kit, and so does the storage `oci` in a layout that skopeo made."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from polyarch.contract import RegistryServices, StorageServices
from polyarch.reference import parse_reference
from polyarch.testing.conformance import Content, RegistryConformance, Source, StorageConformance
from polyarch.testing.conformance.storage_base import Opener
from polyarch_plugins.registries.oci_layout.plugin import polyarch_registries
from polyarch_plugins.storages.oci.storage import open_storage
from support.docker_registry import skopeo


class TestOciLayout(RegistryConformance):
    @pytest.fixture
    def source(self, polyarch_content: Content, polyarch_registry_services: RegistryServices) -> Source:
        (plugin,) = polyarch_registries()
        place = polyarch_content.layout
        names = {name: parse_reference(f"oci:{place}:{name}", {"oci"}) for name in polyarch_content.names}
        return Source(plugin.factory(polyarch_registry_services), names)


@pytest.fixture(scope="module")
def somebody_elses(polyarch_content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout that skopeo wrote, with one image in it."""
    directory = tmp_path_factory.mktemp("skopeo") / "layout"
    skopeo("copy", f"oci:{polyarch_content.layout}:image", f"oci:{directory}:somebody/else:1.0")
    return directory


class TestStorageInALayoutOfSkopeos(StorageConformance):
    @pytest.fixture
    def open_storage(self, somebody_elses: Path, tmp_path: Path) -> Opener:
        directory = shutil.copytree(somebody_elses, tmp_path / "layout")
        return lambda: open_storage(StorageServices(tmp_path, str(directory), sync=False))
