"""Registers the convention of tags that start with the architecture."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import PluginServices, TagConvention, TagConventionPlugin, hookimpl


def _prefix(services: PluginServices) -> TagConvention:
    from polyarch_plugins.tag_conventions.prefix.convention import Prefix

    return Prefix()


@hookimpl
def polyarch_tag_conventions() -> Iterable[TagConventionPlugin]:
    """One convention."""
    return [
        TagConventionPlugin("prefix", "the architecture before the tag: app:arm64-1.0, app:linux-arm-latest", _prefix)
    ]
