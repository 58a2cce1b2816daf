"""Registers Docker Hub."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import Registry, RegistryPlugin, RegistryServices, Search, hookimpl


def _registry(services: RegistryServices) -> Registry:
    from polyarch_plugins.registries.docker_hub.locate import locate

    return services.distribution(locate)


def _search(services: RegistryServices) -> Search:
    from polyarch_plugins.registries.docker_hub.search import HubSearch

    return HubSearch(services)


@hookimpl
def polyarch_registries() -> Iterable[RegistryPlugin]:
    """One registry: docker.io."""
    yield RegistryPlugin(
        "docker-hub",
        "Docker Hub",
        _registry,
        hosts=("docker.io",),
        search=_search,
        # docs.docker.com, "Personal access tokens"
        login="the password is that of your account, or a personal access token made at hub.docker.com",
        # docs.docker.com, "Docker Hub pull usage and limits", "View pull rate and limit"
        limited="docker.io/ratelimitpreview/test",
    )
