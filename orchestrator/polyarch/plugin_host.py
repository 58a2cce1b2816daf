"""Finds plugins, built-in and foreign alike, and hands out what they register.

A plugin that cannot be loaded, that registers something else than it should, or that claims a name already taken, is
remembered as a problem and passed over; everything else works on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import cache
from importlib.metadata import Distribution, EntryPoint, entry_points
from typing import TypeVar

import pluggy

from polyarch.contract.hooks import (
    ENTRY_POINT_GROUP,
    PROJECT,
    EmulatorPlugin,
    FleetEnginePlugin,
    ObserverPlugin,
    PolyarchSpec,
    RegistryPlugin,
    StoragePlugin,
    TagConventionPlugin,
    VerifierPlugin,
)
from polyarch.errors import NotFoundError, UsageError, foreign, printable
from polyarch.reference import Reference
from polyarch.settings import Settings

Registered = (
    RegistryPlugin
    | StoragePlugin
    | TagConventionPlugin
    | EmulatorPlugin
    | VerifierPlugin
    | FleetEnginePlugin
    | ObserverPlugin
)
P = TypeVar("P", bound=Registered)

KINDS: dict[str, type[Registered]] = {
    "registries": RegistryPlugin,
    "storages": StoragePlugin,
    "tag_conventions": TagConventionPlugin,
    "emulators": EmulatorPlugin,
    "verifiers": VerifierPlugin,
    "fleet_engines": FleetEnginePlugin,
    "observers": ObserverPlugin,
}
"""The kinds of plugins: the end of the hook's name, and what it yields."""


@dataclass(frozen=True, slots=True)
class Registration:
    """One thing that a plugin registered: its kind, itself, and where it came from."""

    kind: str
    plugin: Registered
    entry_point: str
    distribution: str


@dataclass(frozen=True, slots=True)
class Problem:
    """A plugin, or a part of one, that was passed over, and why."""

    entry_point: str
    distribution: str
    reason: str


class PluginHost:
    """The plugins in force. Loading happens in the constructor; a plugin's own work only when its factory is called."""

    def __init__(self, settings: Settings, points: Iterable[EntryPoint] | None = None) -> None:
        """`points` are the entry points to load; by default those of the installed distributions."""
        self._prefer = settings.prefer
        self.problems: list[Problem] = []
        self.disabled: list[str] = []
        self._registrations: list[Registration] = []
        self._manager = pluggy.PluginManager(PROJECT)
        self._manager.add_hookspecs(PolyarchSpec)
        found = entry_points(group=ENTRY_POINT_GROUP) if points is None else points
        # By name, so that the order of installation never decides anything.
        for point in sorted(found, key=lambda point: (point.name, _distribution(point))):
            if point.name in settings.disabled_plugins:
                self.disabled.append(point.name)
            else:
                self._load(point)

    @property
    def registrations(self) -> tuple[Registration, ...]:
        """All that was registered."""
        return tuple(self._registrations)

    def _load(self, point: EntryPoint) -> None:
        distribution = _distribution(point)
        known = self._manager.get_plugin(point.name)
        try:
            if known is not None:
                raise ValueError(f"another plugin is called {point.name} too")
            self._manager.register(point.load(), name=point.name)
            self._check_hooks(point.name)
            for kind, wanted in KINDS.items():
                for item in self._call(point.name, kind):
                    self._add(kind, wanted, item, point.name, distribution)
        except Exception as error:
            # Whatever a stranger's module raises stays with it.
            self._problem(point.name, distribution, error)
            if known is None and self._manager.has_plugin(point.name):
                self._manager.unregister(name=point.name)
            self._registrations = [each for each in self._registrations if each.entry_point != point.name]

    def _check_hooks(self, name: str) -> None:
        """Hooks that this contract does not have mean a newer contract or a slip of the pen."""
        plugin = self._manager.get_plugin(name)
        known = {f"polyarch_{kind}" for kind in KINDS}
        for caller in self._manager.get_hookcallers(plugin) or ():
            if caller.name not in known:
                raise ValueError(f"it has a hook {caller.name}, which contract 1 does not know")

    def _call(self, name: str, kind: str) -> Iterable[object]:
        others = [plugin for other, plugin in self._manager.list_name_plugin() if other != name and plugin is not None]
        for result in self._manager.subset_hook_caller(f"polyarch_{kind}", others)():
            if isinstance(result, str) or not isinstance(result, Iterable):
                raise TypeError(f"polyarch_{kind} has to yield {KINDS[kind].__name__}, not {type(result).__name__}")
            yield from result

    def _add(self, kind: str, wanted: type[Registered], item: object, name: str, distribution: str) -> None:
        if not isinstance(item, wanted):
            raise TypeError(f"polyarch_{kind} has to yield {wanted.__name__}, not {type(item).__name__}")
        self._registrations.append(Registration(kind, item, name, distribution))

    def _problem(self, name: str, distribution: str, error: Exception) -> None:
        self.problems.append(Problem(name, distribution, printable(foreign(error))))

    def all(self, kind: type[P]) -> list[P]:
        """Every plugin of a kind, by name; of two with one name the preferred one.

        Raises UsageError if two distributions claim a name and no setting decides.
        """
        by_name: dict[str, list[Registration]] = {}
        for each in self._registrations:
            if isinstance(each.plugin, kind):
                by_name.setdefault(each.plugin.name, []).append(each)
        return [self._decide(name, by_name[name], kind) for name in sorted(by_name)]

    def schemes(self) -> frozenset[str]:
        """The schemes that registries have claimed for their references."""
        return frozenset(scheme for plugin in self.all(RegistryPlugin) for scheme in plugin.schemes)

    def registry_for(self, reference: Reference) -> RegistryPlugin:
        """The registry plugin of a reference: by scheme, else the one with the most specific pattern for its host."""
        claims: list[tuple[tuple[bool, int], Registration]] = []
        for each in self._registrations:
            if not isinstance(each.plugin, RegistryPlugin):
                continue
            if reference.scheme:
                if reference.scheme in each.plugin.schemes:
                    claims.append(((True, 0), each))
                continue
            for pattern in each.plugin.hosts:
                if fnmatchcase(reference.registry.lower(), pattern.lower()):
                    claims.append((("*" not in pattern and "?" not in pattern, len(pattern)), each))
        what = reference.scheme or reference.registry
        if not claims:
            raise UsageError(f"no plugin knows the registry {what}", "see: polyarch plugin ls")
        best = max(weight for weight, _ in claims)
        return self._decide(what, [each for weight, each in claims if weight == best], RegistryPlugin)

    def login_words(self, registry: str) -> str:
        """How one gets credentials of a registry, in words; "" if nobody knows."""
        try:
            return self.registry_for(Reference(registry, "login")).login
        except UsageError:
            return ""

    def storage(self, name: str) -> StoragePlugin:
        """The storage plugin called `name`. Raises UsageError, listing those that there are."""
        return self._by_name(name, StoragePlugin, "storage")

    def _by_name(self, name: str, kind: type[P], what: str) -> P:
        plugins = {plugin.name: plugin for plugin in self.all(kind)}
        if name not in plugins:
            known = ", ".join(plugins) or "none"
            raise UsageError(
                f"there is no {what} called {printable(name, 100)!r} (there are: {known})", "see: polyarch plugin ls"
            )
        return plugins[name]

    def _decide(self, what: str, claims: Sequence[Registration], kind: type[P]) -> P:
        if len(claims) > 1:
            preferred = [each for each in claims if self._prefer.get(what) in (each.entry_point, each.plugin.name)]
            if len(preferred) != 1:
                who = " and ".join(f"{each.entry_point} ({each.distribution})" for each in claims)
                raise UsageError(
                    f"{what} is claimed by {who}",
                    f'say in the settings which one to take: prefer = {{"{what}" = "{claims[0].entry_point}"}}',
                )
            claims = preferred
        plugin = claims[0].plugin
        if not isinstance(plugin, kind):
            raise NotFoundError(f"{what} is no {kind.__name__}")
        return plugin


def _distribution(point: EntryPoint) -> str:
    return _named(point.dist) if point.dist else "unknown distribution"


@cache  # each question parses all of the distribution's metadata again
def _named(distribution: Distribution) -> str:
    return f"{distribution.name} {distribution.version}"
