"""Registers the distribution-spec for every host."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import Registry, RegistryPlugin, RegistryServices, hookimpl


def _registry(services: RegistryServices) -> Registry:
    from polyarch_plugins.registries.distribution.locate import locate

    return services.distribution(locate)


@hookimpl
def polyarch_registries() -> Iterable[RegistryPlugin]:
    """One registry, for all hosts that no other plugin knows more closely."""
    return [RegistryPlugin("distribution", "any registry of the OCI distribution-spec", _registry, hosts=("*",))]
