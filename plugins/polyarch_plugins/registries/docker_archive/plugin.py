"""Registers the scheme `docker-archive`."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import Registry, RegistryPlugin, RegistryServices, hookimpl


def _registry(services: RegistryServices) -> Registry:
    from pathlib import Path

    from polyarch.contract import DockerArchive, HeldImages, locate_file

    return HeldImages(locate_file, lambda place: DockerArchive(Path(place), services.temporary))


@hookimpl
def polyarch_registries() -> Iterable[RegistryPlugin]:
    """Docker's archives in files."""
    summary = "an archive of docker save (docker-archive:FILE, docker-archive:FILE:NAME)"
    return [RegistryPlugin("docker-archive", summary, _registry, schemes=("docker-archive",))]
