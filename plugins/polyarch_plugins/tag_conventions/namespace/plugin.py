"""Registers the convention of one namespace an architecture."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import PluginServices, TagConvention, TagConventionPlugin, hookimpl


def _namespace(services: PluginServices) -> TagConvention:
    from polyarch_plugins.tag_conventions.namespace.convention import Namespace

    return Namespace()


@hookimpl
def polyarch_tag_conventions() -> Iterable[TagConventionPlugin]:
    """One convention."""
    return [TagConventionPlugin("namespace", "a namespace for each architecture: arm32v7/alpine", _namespace)]
