"""Registers the storages `oci-archive` and `docker-archive`."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import ImageLoader, StoragePlugin, StorageServices, hookimpl


def _oci(services: StorageServices) -> ImageLoader:
    from polyarch_plugins.storages.archives.oci import OciArchiveStorage

    return OciArchiveStorage(services)


def _docker(services: StorageServices) -> ImageLoader:
    from polyarch_plugins.storages.archives.docker import DockerArchiveStorage

    return DockerArchiveStorage(services)


@hookimpl
def polyarch_storages() -> Iterable[StoragePlugin]:
    """One archive a storage."""
    return [
        StoragePlugin(
            "oci-archive", "an OCI image layout in a tar archive, which engines load (oci-archive:FILE)", _oci
        ),
        StoragePlugin(
            "docker-archive",
            "an archive as docker save writes it (docker-archive:FILE)",
            _docker,
            several_platforms=False,
        ),
    ]
