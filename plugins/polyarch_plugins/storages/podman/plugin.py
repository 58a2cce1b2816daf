"""Registers the storage `podman` and the source `containers-storage:`."""

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
    from polyarch_plugins.storages.podman.loader import open_podman

    return open_podman(services)


def _source(services: RegistryServices) -> Registry:
    from polyarch_plugins.storages.podman.source import open_containers_storage

    return open_containers_storage(services)


@hookimpl
def polyarch_storages() -> Iterable[StoragePlugin]:
    """podman's images of this user; `podman:SOCKET` are those of a service. It keeps one image a name."""
    summary = "podman's images of this user (podman:SOCKET for a service of podman's)"
    return [StoragePlugin("podman", summary, _storage, several_platforms=False)]


@hookimpl
def polyarch_registries() -> Iterable[RegistryPlugin]:
    """The same images as a source. It is called podman, too, so that one table of settings is for both."""
    summary = "images that podman has (containers-storage:NAME)"
    return [RegistryPlugin("podman", summary, _source, schemes=("containers-storage",))]
