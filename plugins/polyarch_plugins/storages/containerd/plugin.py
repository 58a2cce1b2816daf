"""Registers the storage `containerd`."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import ImageLoader, StoragePlugin, StorageServices, hookimpl


def _storage(services: StorageServices) -> ImageLoader:
    from polyarch_plugins.storages.containerd.loader import open_containerd

    return open_containerd(services)


@hookimpl
def polyarch_storages() -> Iterable[StoragePlugin]:
    """The images of a namespace; `containerd:k8s.io` are those of Kubernetes."""
    return [StoragePlugin("containerd", "a namespace of containerd's (containerd:k8s.io for Kubernetes')", _storage)]
