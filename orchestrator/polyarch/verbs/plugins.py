"""What each plugin is, and whether it keeps the contract, as far as that can be told without its author's tests."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from polyarch.contract.builders import BuilderServices
from polyarch.contract.hooks import BuilderPlugin, EmulatorPlugin, RegistryPlugin, StoragePlugin, VerifierPlugin
from polyarch.contract.others import EmulatorServices, PluginServices, VerifierServices
from polyarch.contract.registry import RegistryServices
from polyarch.contract.storage import StorageServices
from polyarch.errors import InterruptedPull, PolyarchError, UsageError, printable
from polyarch.plugin_host.discovery import installed, load, named_when_interrupted
from polyarch.plugin_host.host import PluginHost, is_off
from polyarch.plugin_host.kinds import Point, Registered, Registration
from polyarch.plugin_host.shapes import SEARCH, abilities, faults, told
from polyarch.settings import Settings
from polyarch_platforms.lazy_dataclass import dataclass

_CONTRACT = "polyarch.contract"


@dataclass(frozen=True, slots=True)
class Registers:
    """One thing that a plugin registers.

    `abilities` are what it can do beyond what its kind has to; `untried` says why that, and its methods, were not
    looked at ("" if they were).
    """

    kind: str
    name: str
    summary: str
    abilities: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    schemes: tuple[str, ...] = ()
    untried: str = ""

    def to_json(self) -> dict[str, object]:
        """For one JSON line; what only registries have is left out of the others."""
        document: dict[str, object] = {
            "kind": self.kind,
            "name": self.name,
            "summary": self.summary,
            "abilities": list(self.abilities),
            "untried": self.untried or None,
        }
        if self.kind == "registries":
            document |= {"hosts": list(self.hosts), "schemes": list(self.schemes)}
        return document


@dataclass(frozen=True, slots=True)
class Report:
    """A plugin: where it came from, what it registers, what is wrong with it and what else there is to know."""

    point: Point
    verdict: Literal["ok", "failed", "off"]
    registers: tuple[Registers, ...] = ()
    faults: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        point = self.point
        return {
            "plugin": point.name,
            "distribution": point.distribution,
            "group": point.group,
            "entry_point": point.value,
            "verdict": self.verdict,
            "registers": [each.to_json() for each in self.registers],
            "faults": list(self.faults),
            "notes": list(self.notes),
        }


class PluginVerbs:
    """What `polyarch plugin` does. `plugins` is the host in use, `services` hands out what registries are made with."""

    def __init__(
        self, settings: Settings, plugins: Callable[[], PluginHost], services: Callable[[], RegistryServices]
    ) -> None:
        self._settings, self._plugins, self._services = settings, plugins, services

    def show(self, name: str) -> tuple[Report, ...]:
        """The plugins that `name` means, with the abilities of what they make. Raises UsageError."""
        host = self._plugins()
        return tuple(self._described(host, point) for point in points_named(host, name))

    def check(self, name: str = "") -> tuple[Report, ...]:
        """Import every plugin, or the one called so, in earnest, and hold what it makes against the contract.

        Raises UsageError.
        """
        said = load_all([point for point in installed() if not is_off(self._settings, point)])
        host = PluginHost(self._settings, cached=False)
        wanted = points_named(host, name) if name else host.points
        reports = (self._described(host, point) for point in wanted)
        return tuple(replace(each, notes=(*each.notes, *said.get(each.point, ()))) for each in reports)

    def new(self, name: str, directory: Path | None, kinds: Collection[str]) -> tuple[Path, tuple[Path, ...]]:
        """Write the package of a plugin `name`, of these kinds, into a new folder; that, and the files in it.

        Raises UsageError, StorageError.
        """
        from polyarch.verbs.plugin_skeleton import write_skeleton

        return write_skeleton(name, directory, kinds, self._plugins())

    def _described(self, host: PluginHost, point: Point) -> Report:
        mine = [each for each in host.problems if each.point == point]
        wrong = [f"its {each.part}: {each.reason}" if each.part else each.reason for each in mine]
        registered = [each for each in host.registrations if each.point == point]
        if is_off(self._settings, point):
            return Report(point, "off")
        registers = []
        for each in registered:
            looked, found = self._looked_at(each)
            registers.append(looked)
            wrong += found
        return Report(point, "failed" if wrong else "ok", tuple(registers), tuple(wrong))

    def _looked_at(self, each: Registration) -> tuple[Registers, list[str]]:
        plugin, kind = each.plugin, each.kind
        can, wrong, untried = list[str](), list[str](), ""
        try:
            with named_when_interrupted(each.point):
                made = self._made(plugin)
                can += abilities(kind, made)
                wrong += faults(kind, made)
                _close(made)
                if isinstance(plugin, RegistryPlugin) and plugin.search is not None:
                    wrong += faults(SEARCH, plugin.search(self._registry_services(plugin)))
        except InterruptedPull:
            raise
        except PolyarchError as error:
            untried = error.message
        except (Exception, SystemExit) as error:
            # A stranger's code: what it raises is the finding.
            wrong.append(told(error))
        registers = Registers(kind, plugin.name, plugin.summary, untried=untried)
        if isinstance(plugin, RegistryPlugin):
            can += ["searches"] if plugin.search else []
            registers = replace(registers, hosts=tuple(plugin.hosts), schemes=tuple(plugin.schemes))
        if isinstance(plugin, StoragePlugin) and plugin.several_platforms:
            can.insert(0, "several platforms")
        return replace(registers, abilities=tuple(can)), [f"its {each.name}: {fault}" for fault in wrong]

    def _made(self, plugin: Registered) -> object:
        """What the factory makes. A storage is not the user's own but one in a folder that goes again."""
        if isinstance(plugin, RegistryPlugin):
            return plugin.factory(self._registry_services(plugin))
        if isinstance(plugin, StoragePlugin):
            services = self._storage_services(plugin)
            try:
                return plugin.factory(services)
            except UsageError:  # it wants to be told where
                return plugin.factory(replace(services, location=str(services.root / "place")))
        options, environ = self._options(plugin), self._settings.environ
        if isinstance(plugin, EmulatorPlugin):
            return plugin.factory(EmulatorServices(options=options))
        if isinstance(plugin, BuilderPlugin):
            return plugin.factory(BuilderServices(self._services().temporary(), options=options, environ=environ))
        if isinstance(plugin, VerifierPlugin):
            return plugin.factory(VerifierServices(options, environ, home=self._settings.home))
        return plugin.factory(PluginServices(options, environ))

    def _registry_services(self, plugin: RegistryPlugin) -> RegistryServices:
        return replace(self._services(), options=self._options(plugin))

    def _storage_services(self, plugin: StoragePlugin) -> StorageServices:
        services = self._services()
        environ = self._settings.environ
        return StorageServices(
            services.temporary(), http_at=services.http_at, environ=environ, options=self._options(plugin)
        )

    def _options(self, plugin: Registered) -> Mapping[str, object]:
        return self._settings.options.get(plugin.name, {})


def points_named(host: PluginHost, name: str) -> tuple[Point, ...]:
    """The plugins that a word means: an entry point, else a distribution, else the name of what one registers.

    Raises UsageError.
    """
    registered = [each.point for each in host.registrations if each.plugin.name == name]
    tests: tuple[Callable[[Point], bool], ...] = (
        lambda point: point.name == name,
        lambda point: point.project == name,
        lambda point: point in registered,
    )
    for test in tests:
        if found := tuple(point for point in host.points if test(point)):
            return found
    raise UsageError(f"there is no plugin called '{printable(name, 100)}'", "see: polyarch plugin ls")


def load_all(points: Collection[Point]) -> dict[Point, tuple[str, ...]]:
    """Import plugins in earnest; of each what it uses of the contract that is about to go.

    What they raise is passed over: whoever loads them again comes across it.
    """
    said = {}
    for point in points:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", DeprecationWarning)
            try:
                load(point)
            except InterruptedPull:
                raise
            except (Exception, SystemExit):
                continue
        texts = [str(each.message) for each in caught if issubclass(each.category, DeprecationWarning)]
        said[point] = tuple(dict.fromkeys(text for text in texts if text.startswith(_CONTRACT)))
    return said


def _close(made: object) -> None:
    close = getattr(made, "close", None)
    if callable(close):
        close()
