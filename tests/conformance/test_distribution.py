"""The registries `distribution` and `docker-hub` keep every promise of the kit, against a real registry."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from polyarch.contract import Endpoint, Reference, Registry, RegistryServices
from polyarch.reference import parse_reference
from polyarch.testing.conformance import Content, RegistryConformance, Source
from polyarch_plugins.registries.distribution.plugin import polyarch_registries as distribution
from polyarch_plugins.registries.docker_hub.plugin import polyarch_registries as docker_hub
from support.docker_registry import DockerRegistry
from support.layout_files import Layout

pytestmark = pytest.mark.system


@pytest.fixture(scope="module")
def server(polyarch_content: Content, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A real registry that offers the content as `library/sample:NAME`."""
    server = DockerRegistry(tmp_path_factory.mktemp("conformance-registry"))
    layout = Layout(polyarch_content.layout)
    layout.names = {f"library/sample:{name}": entry for name, entry in layout.names.items()}
    for name in layout.names:
        layout.push(name, server.address)
    yield server
    server.stop()


class TestDistribution(RegistryConformance):
    @pytest.fixture
    def source(
        self, server: DockerRegistry, polyarch_content: Content, polyarch_registry_services: RegistryServices
    ) -> Source:
        (plugin,) = distribution()
        names = {name: parse_reference(server.ref(f"library/sample:{name}")) for name in polyarch_content.names}
        return Source(plugin.factory(polyarch_registry_services), names)


class TestDockerHub(RegistryConformance):
    """What the plugin makes of a name goes to Docker Hub's host; here that host's place is taken by a real registry.

    All but the host stays as the plugin says it: repository and key of the credentials.
    """

    @pytest.fixture
    def source(
        self, server: DockerRegistry, polyarch_content: Content, polyarch_registry_services: RegistryServices
    ) -> Source:
        (plugin,) = docker_hub()

        def distribution(locate: Callable[[Reference], Endpoint]) -> Registry:
            def here(reference: Reference) -> Endpoint:
                endpoint = locate(reference)
                assert endpoint.host == "registry-1.docker.io"
                return replace(endpoint, host=server.address)

            return polyarch_registry_services.distribution(here)

        registry = plugin.factory(replace(polyarch_registry_services, distribution=distribution))
        return Source(registry, {name: parse_reference(f"sample:{name}") for name in polyarch_content.names})
