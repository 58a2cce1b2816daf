"""Pluggy, as polyarch uses it: the hooks that there are, and what `hookimpl` has marked."""

from __future__ import annotations

import inspect

import pluggy

from polyarch.contract.hooks import MARK, PROJECT, PolyarchSpec


class _Manager(pluggy.PluginManager):
    """Knows a hook by `contract.hookimpl`'s mark, or by a marker of pluggy's own for the same project."""

    def parse_hookimpl_opts(self, plugin: object, name: str) -> pluggy.HookimplOpts | None:
        """Asked by pluggy of everything in a plugin."""
        hook = getattr(plugin, name)
        function = getattr(hook, "__func__", hook)
        if inspect.isroutine(hook) and (options := getattr(function, MARK, None)) is not None:
            pluggy.HookimplMarker(PROJECT)(**options)(function)
        return super().parse_hookimpl_opts(plugin, name)

    def parse_hookspec_opts(self, module_or_class: object, name: str) -> pluggy.HookspecOpts | None:
        """Asked by pluggy of everything in the specification."""
        if name.startswith(f"{PROJECT}_"):
            pluggy.HookspecMarker(PROJECT)(getattr(module_or_class, name))
        return super().parse_hookspec_opts(module_or_class, name)  # type: ignore[arg-type]


def manager_of() -> pluggy.PluginManager:
    """A manager that knows the hooks and no plugin yet."""
    manager = _Manager(PROJECT)
    manager.add_hookspecs(PolyarchSpec)
    return manager
