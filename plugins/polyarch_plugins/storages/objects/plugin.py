"""Registers the object stores, each as a storage and as a source."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from polyarch.contract import (
    ImageLoader,
    Registry,
    RegistryPlugin,
    RegistryServices,
    StoragePlugin,
    StorageServices,
    hookimpl,
)

_KINDS = {
    "s3": ("S3 and what speaks like it", "s3://BUCKET/PREFIX"),
    "gs": ("Google Cloud Storage", "gs://BUCKET/PREFIX"),
    "az": ("Azure Blob Storage", "az://CONTAINER/PREFIX"),
}


def _storage(kind: str, services: StorageServices) -> ImageLoader:
    from polyarch_plugins.storages.objects.storage import ObjectStorage

    return ObjectStorage(kind, services)


def _registry(kind: str, services: RegistryServices) -> Registry:
    from polyarch.contract import HeldImages
    from polyarch_plugins.storages.objects.place import ObjectPlace, locate
    from polyarch_plugins.storages.objects.store import open_store

    return HeldImages(
        partial(locate, kind), lambda place: ObjectPlace(open_store(kind, place, services.options, services.environ))
    )


@hookimpl
def polyarch_storages() -> Iterable[StoragePlugin]:
    """A storage a kind of object store."""
    return [
        StoragePlugin(kind, f"an OCI image layout in {what} ({form})", partial(_storage, kind))
        for kind, (what, form) in _KINDS.items()
    ]


@hookimpl
def polyarch_registries() -> Iterable[RegistryPlugin]:
    """A scheme a kind of object store."""
    return [
        RegistryPlugin(kind, f"an OCI image layout in {what} ({form}:NAME)", partial(_registry, kind), schemes=(kind,))
        for kind, (what, form) in _KINDS.items()
    ]
