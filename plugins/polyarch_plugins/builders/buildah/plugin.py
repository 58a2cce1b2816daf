"""Registers the builder `buildah`."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import Builder, BuilderPlugin, BuilderServices, hookimpl


def _builder(services: BuilderServices) -> Builder:
    from polyarch_plugins.builders.buildah.builder import Buildah

    return Buildah(services)


@hookimpl
def polyarch_builders() -> Iterable[BuilderPlugin]:
    """The program buildah."""
    return [BuilderPlugin("buildah", "the program buildah, without root and without a daemon", _builder)]
