"""The storages `oci-archive` and `docker-archive` keep every promise of the kit, and so do the sources over them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.contract import RegistryServices, StorageServices
from polyarch.reference import parse_reference
from polyarch.testing.conformance import Content, LoaderConformance, RegistryConformance, Source
from polyarch.testing.conformance.content import IMAGE, LONG_TAG
from polyarch.testing.conformance.loader_base import LoaderOpener
from polyarch_plugins.registries.docker_archive.plugin import polyarch_registries as docker_archive
from polyarch_plugins.registries.oci_archive.plugin import polyarch_registries as oci_archive
from polyarch_plugins.storages.archives.docker import DockerArchiveStorage
from polyarch_plugins.storages.archives.oci import OciArchiveStorage
from support.docker_registry import skopeo

NAMES = (IMAGE, LONG_TAG)
"""Names of the content's one image of one platform."""


@pytest.fixture(scope="module")
def layout_in_a_file(polyarch_content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The content's layout in a compressed tar archive."""
    path = tmp_path_factory.mktemp("archive") / "images.tar.gz"
    subprocess.run(["tar", "-czf", path, "-C", polyarch_content.layout, "."], check=True)
    return path


@pytest.fixture(scope="module")
def saved(polyarch_content: Content, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What skopeo writes of the content's one image, under two names."""
    path = tmp_path_factory.mktemp("archive") / "images.tar"
    tags = [option for name in NAMES for option in ("--additional-tag", f"localhost/content:{name}")]
    skopeo("copy", *tags, f"oci:{polyarch_content.layout}:{IMAGE}", f"docker-archive:{path}")
    return path


class TestOciArchive(LoaderConformance):
    @pytest.fixture
    def open_loader(self, tmp_path: Path) -> LoaderOpener:
        return lambda: OciArchiveStorage(StorageServices(tmp_path, str(tmp_path / "images.tar"), sync=False))


class TestDockerArchive(LoaderConformance):
    several_platforms = False

    @pytest.fixture
    def open_loader(self, tmp_path: Path) -> LoaderOpener:
        return lambda: DockerArchiveStorage(StorageServices(tmp_path, str(tmp_path / "images.tar"), sync=False))


class TestOciArchiveSource(RegistryConformance):
    @pytest.fixture
    def source(
        self, layout_in_a_file: Path, polyarch_content: Content, polyarch_registry_services: RegistryServices
    ) -> Iterator[Source]:
        (plugin,) = oci_archive()
        registry = plugin.factory(polyarch_registry_services)
        names = {
            name: parse_reference(f"oci-archive:{layout_in_a_file}:{name}", {"oci-archive"})
            for name in polyarch_content.names
        }
        yield Source(registry, names)
        registry.close()


class TestDockerArchiveSource(RegistryConformance):
    @pytest.fixture
    def source(self, saved: Path, polyarch_registry_services: RegistryServices) -> Iterator[Source]:
        (plugin,) = docker_archive()
        registry = plugin.factory(polyarch_registry_services)
        place = f"docker-archive:{saved}:localhost/content"
        yield Source(
            registry, {name: parse_reference(f"{place}:{name}", {"docker-archive"}) for name in NAMES}, exact=False
        )
        registry.close()
