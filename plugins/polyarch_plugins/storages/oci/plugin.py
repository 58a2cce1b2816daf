"""Registers the storage `oci`."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import Storage, StoragePlugin, StorageServices, hookimpl


def _open(services: StorageServices) -> Storage:
    from polyarch_plugins.storages.oci.storage import open_storage

    return open_storage(services)


@hookimpl
def polyarch_storages() -> Iterable[StoragePlugin]:
    """The default storage; `oci:DIR` is one in another place."""
    return [StoragePlugin("oci", "an OCI image layout, readable by other tools (oci:DIR for another place)", _open)]
