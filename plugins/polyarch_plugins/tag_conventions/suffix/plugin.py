"""Registers the convention of tags that end with the architecture."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import PluginServices, TagConvention, TagConventionPlugin, hookimpl


def _suffix(services: PluginServices) -> TagConvention:
    from polyarch_plugins.tag_conventions.suffix.convention import Suffix

    return Suffix()


@hookimpl
def polyarch_tag_conventions() -> Iterable[TagConventionPlugin]:
    """One convention."""
    return [
        TagConventionPlugin("suffix", "the architecture behind the tag: app:1.0-arm64v8, app:latest-armhf", _suffix)
    ]
