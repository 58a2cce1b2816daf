"""Registers the storage `docker` and the source `docker-daemon:`."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import (
    ImageLoader,
    Registry,
    RegistryPlugin,
    RegistryServices,
    StoragePlugin,
    StorageServices,
    hookimpl,
)


def _storage(services: StorageServices) -> ImageLoader:
    from polyarch_plugins.storages.docker.loader import open_docker

    return open_docker(services)


def _source(services: RegistryServices) -> Registry:
    from polyarch_plugins.storages.docker.source import open_docker_daemon

    return open_docker_daemon(services)


@hookimpl
def polyarch_storages() -> Iterable[StoragePlugin]:
    """The engine of this machine; `docker:SOCKET` is one that listens elsewhere."""
    summary = "the docker engine of this machine (docker:SOCKET for one that listens elsewhere)"
    return [StoragePlugin("docker", summary, _storage, several_platforms=False)]


@hookimpl
def polyarch_registries() -> Iterable[RegistryPlugin]:
    """Images that docker has: `docker-daemon:NAME`."""
    summary = "images that the docker engine of this machine has (docker-daemon:NAME)"
    return [RegistryPlugin("docker-daemon", summary, _source, schemes=("docker-daemon",))]
