"""Registers Docker Hub."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import Registry, RegistryPlugin, RegistryServices, hookimpl


def _registry(services: RegistryServices) -> Registry:
    from polyarch_plugins.registries.docker_hub.locate import locate

    return services.distribution(locate)


@hookimpl
def polyarch_registries() -> Iterable[RegistryPlugin]:
    """One registry: docker.io."""
    return [RegistryPlugin("docker-hub", "Docker Hub", _registry, hosts=("docker.io",))]
