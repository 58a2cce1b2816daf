"""The hooks of contract version 1.

A plugin is a module, or an object, with some of these functions marked by `hookimpl`, named in the entry-point group
`polyarch.v1`. A hook does no work, reads no file, imports nothing heavy and returns frozen descriptions, whose
factories are called when the plugin is used. What the hooks returned is remembered until a file of the plugin changes,
so that a plugin is not even imported where nothing of it is used.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar, overload

from polyarch.contract.builders import Builder, BuilderServices
from polyarch.contract.fleet import FleetEngine
from polyarch.contract.others import (
    EmulatorServices,
    EmulatorSource,
    Observer,
    PluginServices,
    TagConvention,
    Verifier,
    VerifierServices,
)
from polyarch.contract.registry import Registry, RegistryServices, Search
from polyarch.contract.storage import ImageLoader, Storage, StorageServices
from polyarch.contract.version import CONTRACT_VERSION as CONTRACT_VERSION
from polyarch.contract.version import ENTRY_POINT_GROUP as ENTRY_POINT_GROUP
from polyarch_platforms.lazy_dataclass import dataclass

PROJECT = "polyarch"

MARK = "polyarch_hookimpl"
"""The attribute of a hook's function that `hookimpl` gives it: pluggy's options."""

F = TypeVar("F", bound=Callable[..., object])


@overload
def hookimpl(function: F, /) -> F: ...


@overload
def hookimpl(*, specname: str = ..., tryfirst: bool = ..., trylast: bool = ...) -> Callable[[F], F]: ...


def hookimpl(function: F | None = None, /, **options: object) -> F | Callable[[F], F]:
    """Marks a function as a hook: `@hookimpl`, or with pluggy's options `@hookimpl(specname="polyarch_storages")`.

    Pluggy itself is loaded when a plugin is asked for the first time: what a plugin registers is remembered.
    """

    def marked(function: F) -> F:
        setattr(function, MARK, options)
        return function

    return marked if function is None else marked(function)


@dataclass(frozen=True, slots=True)
class RegistryPlugin:
    """A kind of registry: for the hosts that match one of `hosts` (`fnmatch` patterns), or references `SCHEME:…`.

    One without hosts and schemes is for hosts that the user gives it (setting `prefer`).

    `search` makes what finds repositories there; without it, their list is looked through (`ListsRepositories`) where
    the registry gives one. That of a plugin without hosts is asked for every host that no plugin knows more closely.
    `login` says in words how one gets credentials there: it is the hint where they are missing or refused. `limited` is
    a reference there: the answer to a HEAD request for its manifest tells what limit pulls have (`ratelimit-limit`).
    """

    name: str
    summary: str
    factory: Callable[[RegistryServices], Registry]
    hosts: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    search: Callable[[RegistryServices], Search] | None = None
    login: str = ""
    limited: str = ""


@dataclass(frozen=True, slots=True)
class StoragePlugin:
    """A kind of storage, for `--into NAME` or `--into NAME:LOCATION`.

    `several_platforms` tells that it can keep more than one platform under one name.
    """

    name: str
    summary: str
    factory: Callable[[StorageServices], Storage | ImageLoader]
    several_platforms: bool = True


@dataclass(frozen=True, slots=True)
class TagConventionPlugin:
    """A habit of naming variants."""

    name: str
    summary: str
    factory: Callable[[PluginServices], TagConvention]


@dataclass(frozen=True, slots=True)
class EmulatorPlugin:
    """A place that emulators come from."""

    name: str
    summary: str
    factory: Callable[[EmulatorServices], EmulatorSource]


@dataclass(frozen=True, slots=True)
class VerifierPlugin:
    """A rule that images have to keep."""

    name: str
    summary: str
    factory: Callable[[VerifierServices], Verifier]


@dataclass(frozen=True, slots=True)
class FleetEnginePlugin:
    """A way to reach the devices of a fleet."""

    name: str
    summary: str
    factory: Callable[[PluginServices], FleetEngine]


@dataclass(frozen=True, slots=True)
class BuilderPlugin:
    """A program that makes images from Dockerfiles."""

    name: str
    summary: str
    factory: Callable[[BuilderServices], Builder]


@dataclass(frozen=True, slots=True)
class ObserverPlugin:
    """Somebody who listens."""

    name: str
    summary: str
    factory: Callable[[PluginServices], Observer]


class PolyarchSpec:
    """The hooks. Each is optional; all results of all plugins are collected, a clash of names is reported."""

    def polyarch_registries(self) -> Iterable[RegistryPlugin]:
        """Registries.

        ::

            @hookimpl
            def polyarch_registries():
                yield RegistryPlugin("attic", "images in a folder", factory=Attic, schemes=("attic",))
        """
        raise NotImplementedError

    def polyarch_storages(self) -> Iterable[StoragePlugin]:
        """Storages.

        ::

            @hookimpl
            def polyarch_storages():
                yield StoragePlugin("shelf", "one folder an image", factory=Shelf)
        """
        raise NotImplementedError

    def polyarch_tag_conventions(self) -> Iterable[TagConventionPlugin]:
        """Tag conventions.

        ::

            @hookimpl
            def polyarch_tag_conventions():
                yield TagConventionPlugin("prefix", "arm64-1.0", factory=Prefix)
        """
        raise NotImplementedError

    def polyarch_emulators(self) -> Iterable[EmulatorPlugin]:
        """Places that emulators come from.

        ::

            @hookimpl
            def polyarch_emulators():
                yield EmulatorPlugin("opt-qemu", "QEMU under /opt/qemu", factory=OptQemu)
        """
        raise NotImplementedError

    def polyarch_verifiers(self) -> Iterable[VerifierPlugin]:
        """Rules that images have to keep.

        ::

            @hookimpl
            def polyarch_verifiers():
                yield VerifierPlugin("only-ours", "refuses other registries", factory=OnlyOurs)
        """
        raise NotImplementedError

    def polyarch_fleet_engines(self) -> Iterable[FleetEnginePlugin]:
        """Ways to reach the devices of a fleet.

        ::

            @hookimpl
            def polyarch_fleet_engines():
                yield FleetEnginePlugin("ssh", "plain ssh", factory=Ssh)
        """
        raise NotImplementedError

    def polyarch_builders(self) -> Iterable[BuilderPlugin]:
        """Programs that make images from Dockerfiles.

        ::

            @hookimpl
            def polyarch_builders():
                yield BuilderPlugin("kaniko", "kaniko's executor", factory=Kaniko)
        """
        raise NotImplementedError

    def polyarch_observers(self) -> Iterable[ObserverPlugin]:
        """Listeners to events.

        ::

            @hookimpl
            def polyarch_observers():
                yield ObserverPlugin("log", "writes events to a file", factory=Log)
        """
        raise NotImplementedError
