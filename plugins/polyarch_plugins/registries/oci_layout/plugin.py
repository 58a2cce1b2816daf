"""Registers the scheme `oci`."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import Registry, RegistryPlugin, RegistryServices, hookimpl


def _registry(services: RegistryServices) -> Registry:
    from polyarch.contract import HeldImages, locate_file
    from polyarch_plugins.registries.oci_layout.place import LayoutPlace

    return HeldImages(locate_file, LayoutPlace)


@hookimpl
def polyarch_registries() -> Iterable[RegistryPlugin]:
    """Image layouts in folders."""
    return [RegistryPlugin("oci-layout", "an OCI image layout (oci:DIR, oci:DIR:NAME)", _registry, schemes=("oci",))]
