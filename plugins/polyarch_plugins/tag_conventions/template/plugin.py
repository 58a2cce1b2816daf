"""Registers the conventions that the user's settings describe."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import PluginServices, TagConvention, TagConventionPlugin, hookimpl


def _template(services: PluginServices) -> TagConvention:
    from polyarch_plugins.tag_conventions.template.convention import Template

    return Template(services.options)


@hookimpl
def polyarch_tag_conventions() -> Iterable[TagConventionPlugin]:
    """One convention; without templates in the settings it thinks of nothing."""
    return [TagConventionPlugin("template", "names of [options.template]: {name}:{tag}-{debian_arch}", _template)]
