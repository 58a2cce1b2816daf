"""Registers Quay."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

from polyarch.contract import Registry, RegistryPlugin, RegistryServices, Search, hookimpl


def _registry(services: RegistryServices) -> Registry:
    from polyarch_plugins.registries.naming import locate

    return services.distribution(partial(locate, 2, "NAMESPACE/REPOSITORY"))  # docs.redhat.com, "About Red Hat Quay"


def _search(services: RegistryServices) -> Search:
    from polyarch_plugins.registries.quay.search import QuaySearch

    return QuaySearch(services)


@hookimpl
def polyarch_registries() -> Iterable[RegistryPlugin]:
    """One registry: quay.io; others by the setting `prefer`."""
    yield RegistryPlugin(
        "quay",
        "Quay",
        _registry,
        hosts=("quay.io",),
        search=_search,
        # docs.redhat.com, "Use Red Hat Quay", "Robot accounts"; quay.io's own login page on encrypted passwords
        login="a robot account (NAMESPACE+NAME and its token), or your name and an encrypted password "
        "from the account's settings",
    )
