"""Registers the convention of repositories that end with the architecture."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import PluginServices, TagConvention, TagConventionPlugin, hookimpl


def _repository_suffix(services: PluginServices) -> TagConvention:
    from polyarch_plugins.tag_conventions.repository_suffix.convention import RepositorySuffix

    return RepositorySuffix()


@hookimpl
def polyarch_tag_conventions() -> Iterable[TagConventionPlugin]:
    """One convention."""
    return [
        TagConventionPlugin(
            "repository-suffix",
            "the architecture in the repository's name: user/app-armhf:1.0, user/aarch64-app",
            _repository_suffix,
        )
    ]
