"""The registries that speak the distribution-spec keep every promise of the kit, against a real registry.

What a plugin makes of a name goes to a host of its own; here that host's place is taken by the real registry. All but
the host stays as the plugin says it: repository, and key of the credentials.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from polyarch.contract import Endpoint, Reference, Registry, RegistryPlugin, RegistryServices
from polyarch.plugin_host.host import PluginHost
from polyarch.reference import parse_reference
from polyarch.settings import Settings
from polyarch.testing.conformance import Content, PushConformance, RegistryConformance, Source, Target
from support.docker_registry import DockerRegistry
from support.layout_files import Layout

pytestmark = pytest.mark.system

NAMES = {
    "acr": "team.azurecr.io/kit/team/sample",
    "artifact-registry": "europe-docker.pkg.dev/kit/team/sample",
    "docker-hub": "sample",
    "ecr": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/kit/team/sample",
    "ecr-public": "public.ecr.aws/kit/team/sample",
    "gcr": "eu.gcr.io/kit/team/sample",
    "ghcr": "ghcr.io/kit/team/sample",
    "gitlab": "registry.gitlab.com/kit/team/sample",
    "harbor": "harbor.example/kit/team/sample",
    "quay": "quay.io/kit/team/sample",
}
"""A repository that each of the plugins with a host of its own would be asked for."""

PLUGINS = {plugin.name: plugin for plugin in PluginHost(Settings(root=Path("/"))).all(RegistryPlugin)}


@pytest.fixture(scope="module")
def server(polyarch_content: Content, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """A real registry that offers the content as `kit/team/sample:NAME` and `library/sample:NAME`."""
    server = DockerRegistry(tmp_path_factory.mktemp("conformance-registry"))
    try:
        layout = Layout(polyarch_content.layout)
        entries = layout.names
        for repository in ("kit/team/sample", "library/sample"):
            layout.names = {f"{repository}:{name}": entry for name, entry in entries.items()}
            for name in layout.names:
                layout.push(name, server.address)
        yield server
    finally:
        server.stop()


def _tried(plugin: RegistryPlugin, repository: str) -> type:
    """The kit for one of the plugins."""

    @pytest.fixture
    def source(
        self: object, server: DockerRegistry, polyarch_content: Content, polyarch_registry_services: RegistryServices
    ) -> Source:
        def distribution(locate: Callable[[Reference], Endpoint]) -> Registry:
            return polyarch_registry_services.distribution(
                lambda reference: replace(locate(reference), host=server.address)
            )

        registry = plugin.factory(replace(polyarch_registry_services, distribution=distribution))
        names = {name: parse_reference(f"{repository}:{name}") for name in polyarch_content.names}
        return Source(registry, names)

    attributes: dict[str, Any] = {"source": source, "__module__": __name__}
    return type(f"Test{plugin.name.title().replace('-', '')}", (RegistryConformance,), attributes)


for _name, _repository in NAMES.items():
    _class = _tried(PLUGINS[_name], _repository)
    globals()[_class.__name__] = _class
del _class


class TestDistribution(RegistryConformance):
    """The plugin for every host, at the address that the name says."""

    @pytest.fixture
    def source(
        self, server: DockerRegistry, polyarch_content: Content, polyarch_registry_services: RegistryServices
    ) -> Source:
        names = {name: parse_reference(server.ref(f"library/sample:{name}")) for name in polyarch_content.names}
        return Source(PLUGINS["distribution"].factory(polyarch_registry_services), names)


class TestDistributionTakes(PushConformance):
    """The same, pushed to; Debian's registry keeps no lists of referrers, so they are kept for it."""

    @pytest.fixture
    def target(self, server: DockerRegistry, tmp_path: Path, polyarch_registry_services: RegistryServices) -> Target:
        first, second = (
            parse_reference(server.ref(f"pushed/{tmp_path.name.lower().strip('_')}/{name}:tag")) for name in ("a", "b")
        )
        return Target(PLUGINS["distribution"].factory(polyarch_registry_services), first, second)
