"""Registers the scheme `oci-archive`."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import Registry, RegistryPlugin, RegistryServices, hookimpl


def _registry(services: RegistryServices) -> Registry:
    from pathlib import Path

    from polyarch.contract import HeldImages, OciArchive, locate_file

    return HeldImages(locate_file, lambda place: OciArchive(Path(place), services.temporary))


@hookimpl
def polyarch_registries() -> Iterable[RegistryPlugin]:
    """Image layouts in files."""
    summary = "an OCI image layout in a tar archive (oci-archive:FILE, oci-archive:FILE:NAME)"
    return [RegistryPlugin("oci-archive", summary, _registry, schemes=("oci-archive",))]
