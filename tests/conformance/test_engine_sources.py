"""The sources `docker-daemon:` and `containers-storage:` keep every promise of the kit, against real engines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.contract import RegistryServices
from polyarch.reference import parse_reference
from polyarch.testing.conformance import BIG_LAYER, IMAGE, LONG_TAG, Content, RegistryConformance, Source
from polyarch_plugins.storages.docker.plugin import polyarch_registries as docker_daemon
from polyarch_plugins.storages.podman.plugin import polyarch_registries as containers_storage
from support.docker_registry import skopeo
from support.dockerd import Dockerd
from support.podman_engine import PodmanEngine

pytestmark = pytest.mark.system

NAMES = (IMAGE, BIG_LAYER, LONG_TAG)
"""What an engine can be given: one manifest, of OCI's types, for it makes its own of it anyway."""


@pytest.fixture(scope="module")
def archives(polyarch_content: Content, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Docker archives of the content, one a name, each called `localhost/kit/source:NAME`."""
    folder = tmp_path_factory.mktemp("archives")
    paths = []
    for name in NAMES:
        paths.append(folder / f"{name}.tar")
        skopeo(
            "copy", f"oci:{polyarch_content.layout}:{name}", f"docker-archive:{paths[-1]}:localhost/kit/source:{name}"
        )
    return paths


@pytest.fixture(scope="module")
def filled_docker(dockerd: Dockerd, archives: list[Path]) -> Dockerd:
    """docker with the content."""
    for path in archives:
        dockerd.docker("load", "--input", str(path))
    return dockerd


@pytest.fixture(scope="module")
def filled_podman(podman: PodmanEngine, archives: list[Path]) -> PodmanEngine:
    """podman with the content."""
    for path in archives:
        podman.podman("load", "--input", str(path))
    return podman


class TestDockerDaemon(RegistryConformance):
    @pytest.fixture
    def source(self, filled_docker: Dockerd, polyarch_registry_services: RegistryServices) -> Iterator[Source]:
        (plugin,) = docker_daemon()
        registry = plugin.factory(replace(polyarch_registry_services, environ=filled_docker.environ))
        names = {
            name: parse_reference(f"docker-daemon:localhost/kit/source:{name}", {"docker-daemon"}) for name in NAMES
        }
        yield Source(registry, names, exact=False)
        registry.close()


class TestPodmanSource(RegistryConformance):
    @pytest.fixture
    def source(self, filled_podman: PodmanEngine, polyarch_registry_services: RegistryServices) -> Iterator[Source]:
        (plugin,) = containers_storage()
        options = {"command": list(filled_podman.command)}
        registry = plugin.factory(replace(polyarch_registry_services, options=options))
        names = {
            name: parse_reference(f"containers-storage:localhost/kit/source:{name}", {"containers-storage"})
            for name in NAMES
        }
        yield Source(registry, names, exact=False)
        registry.close()
