"""What plugins register: the kinds, where each thing came from, and what has to be true of it."""

from __future__ import annotations

import re
from typing import TypeVar

from polyarch.contract.hooks import (
    BuilderPlugin,
    EmulatorPlugin,
    FleetEnginePlugin,
    ObserverPlugin,
    RegistryPlugin,
    StoragePlugin,
    TagConventionPlugin,
    VerifierPlugin,
)
from polyarch.errors import printable
from polyarch_platforms.lazy_dataclass import dataclass

Registered = (
    RegistryPlugin
    | StoragePlugin
    | TagConventionPlugin
    | EmulatorPlugin
    | VerifierPlugin
    | FleetEnginePlugin
    | BuilderPlugin
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
    "builders": BuilderPlugin,
    "observers": ObserverPlugin,
}
"""The kinds of plugins: the end of the hook's name, and what it yields."""

WORDS = {
    "registries": "registry",
    "storages": "storage",
    "tag_conventions": "tag convention",
    "emulators": "emulator source",
    "verifiers": "verifier",
    "fleet_engines": "fleet engine",
    "builders": "builder",
    "observers": "observer",
}
"""Each kind as people call it."""

OURS = "polyarch"
"""The distribution of the built-in plugins."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", re.ASCII)
_SCHEME = re.compile(r"[a-z][a-z0-9+-]{0,63}", re.ASCII)
_HOST = re.compile(r"[A-Za-z0-9.:*?!\[\]-]{1,255}", re.ASCII)
NO_SCHEMES = ("localhost", "http", "https")
"""Schemes that no plugin may claim: they begin references, or what people paste as such, that mean something else."""


@dataclass(frozen=True, slots=True)
class Point:
    """An entry point that names a plugin: MODULE or MODULE:OBJECT, and the distribution that it came with.

    `project` and `version` are those of the distribution, "" where it is unknown.
    """

    name: str
    value: str
    group: str
    project: str = ""
    version: str = ""

    @property
    def distribution(self) -> str:
        """The distribution and its version, for people."""
        return f"{self.project} {self.version}".strip() or "unknown distribution"

    @property
    def built_in(self) -> bool:
        """True for what polyarch itself ships."""
        return self.project == OURS

    def __str__(self) -> str:
        return f"{self.name} ({self.distribution})"


class _OfPlugin:
    __slots__ = ()
    point: Point

    @property
    def entry_point(self) -> str:
        """The plugin's name."""
        return self.point.name

    @property
    def distribution(self) -> str:
        """The distribution and its version, for people."""
        return self.point.distribution


@dataclass(frozen=True, slots=True)
class Registration(_OfPlugin):
    """One thing that a plugin registered: its kind, itself, and where it came from."""

    kind: str
    plugin: Registered
    point: Point

    @property
    def name(self) -> str:
        """What it is, by kind and name: `storage oci`."""
        return f"{WORDS[self.kind]} {self.plugin.name}"


@dataclass(frozen=True, slots=True)
class Problem(_OfPlugin):
    """A plugin, or a part of one, that was passed over, and why. `part` is "" for all of it, else `storage oci`."""

    point: Point
    reason: str
    part: str = ""

    def __str__(self) -> str:
        part = f": its {self.part}" if self.part else ""
        return f"plugin {self.point}{part} is passed over: {self.reason}"


def kind_of(plugin: Registered) -> str:
    """The kind of a registration: `storages`."""
    return next(kind for kind, each in KINDS.items() if isinstance(plugin, each))


def check_fields(kind: str, item: Registered) -> None:
    """Raises TypeError or ValueError for a registration that cannot be worked with."""
    hook = f"polyarch_{kind}"
    if not (isinstance(item.name, str) and _NAME.fullmatch(item.name)):
        raise ValueError(f"{hook}: the name {_shown(item.name)} is not made of letters, digits, '.', '_' and '-'")
    if not isinstance(item.summary, str):
        raise TypeError(f"{hook}: the summary of {item.name} is not a text")
    if not callable(item.factory):
        raise TypeError(f"{hook}: the factory of {item.name} cannot be called")
    if isinstance(item, RegistryPlugin):
        _check_texts(hook, item, "hosts", _HOST)
        _check_texts(hook, item, "schemes", _SCHEME)
        if unfit := set(item.schemes) & set(NO_SCHEMES):
            raise ValueError(f"{hook}: {', '.join(sorted(unfit))} is no scheme that a plugin may claim")
        if item.search is not None and not callable(item.search):
            raise TypeError(f"{hook}: the search of {item.name} cannot be called")
        for name in ("login", "limited"):
            if not isinstance(getattr(item, name), str):
                raise TypeError(f"{hook}: {name} of {item.name} is not a text")
    if isinstance(item, StoragePlugin) and not isinstance(item.several_platforms, bool):
        raise TypeError(f"{hook}: several_platforms of {item.name} is not True or False")


def _check_texts(hook: str, item: RegistryPlugin, field: str, pattern: re.Pattern[str]) -> None:
    texts = getattr(item, field)
    if not isinstance(texts, tuple | list):
        raise TypeError(f"{hook}: the {field} of {item.name} are not a tuple but {type(texts).__name__}")
    for text in texts:
        if not (isinstance(text, str) and pattern.fullmatch(text)):
            raise ValueError(f"{hook}: {_shown(text)} does not belong to the {field} of {item.name}")


def _shown(value: object) -> str:
    return printable(repr(value), 100)
