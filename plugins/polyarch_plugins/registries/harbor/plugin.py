"""Registers Harbor."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from polyarch.contract import Registry, RegistryPlugin, RegistryServices, Search, hookimpl


def _registry(services: RegistryServices) -> Registry:
    from polyarch_plugins.registries.naming import locate

    return services.distribution(partial(locate, 2, "PROJECT/REPOSITORY"))  # goharbor.io/docs, "Working with Projects"


def _search(services: RegistryServices) -> Search:
    from polyarch_plugins.registries.harbor.search import HarborSearch

    return HarborSearch(services)


@hookimpl
def polyarch_registries() -> Iterable[RegistryPlugin]:
    """One registry, for no host in particular: its search finds out whether a host is a Harbor."""
    yield RegistryPlugin(
        "harbor",
        "Harbor",
        _registry,
        search=_search,
        # goharbor.io/docs, "Create Robot Accounts", and "Configure OIDC Provider Authentication" on the CLI secret
        login="your name and password, with OIDC the CLI secret of your user profile, or a robot account",
    )
