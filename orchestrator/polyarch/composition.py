"""Joins plugins, host and core: what every verb of a session stands on."""

from __future__ import annotations

import contextlib
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from polyarch.contract.builders import Builder, BuilderServices, RunsEmulated
from polyarch.contract.fleet import FleetEngine
from polyarch.contract.hooks import BuilderPlugin, EmulatorPlugin, FleetEnginePlugin, ObserverPlugin, RegistryPlugin
from polyarch.contract.http import Http
from polyarch.contract.others import EmulatorServices, EmulatorSource, FetchesEmulators, Observer
from polyarch.contract.registry import Endpoint, Registry, RegistryServices, Search
from polyarch.contract.storage import (
    HasBlobFiles,
    Image,
    ImageLoader,
    OfferedImage,
    ReadsBlobs,
    Storage,
    StorageServices,
)
from polyarch.errors import (
    UsageError,
    platforms_errors,
    printable,
)
from polyarch.events import Emit, Event, NameTaken, Warned, ignore
from polyarch.observers import Observers
from polyarch.plugin_host.host import PluginHost
from polyarch.plugin_host.parts import Parts
from polyarch.plugin_host.shapes import SEARCH
from polyarch.reference import Reference, parse_reference
from polyarch.resolution.documents import Documents
from polyarch.selection.targets import target_for_platform
from polyarch.selection.types import EmulationPolicy, Target, target_of
from polyarch.settings import Settings, load_settings
from polyarch.transfer.staged import KeepsBlobs, StagedStorage
from polyarch_platforms.device import Device
from polyarch_platforms.platform import Platform, is_known, parse

if TYPE_CHECKING:
    from polyarch.registry.machine_files import MachineFiles
    from polyarch.registry.short_names import Names

DEFAULT_STORAGE = "oci"
DEFAULT_FLEET_ENGINE = "ansible"
A = TypeVar("A")
T = TypeVar("T")


class Composition(ABC):
    """Settings, plugins, connections and storages for as long as they are needed. Not shared between threads."""

    def __init__(self, settings: Settings | None = None, *, emit: Emit = ignore) -> None:
        """`emit` is given every event, from whichever thread it happens in. Raises UsageError: no such `qemu_image`."""
        self.settings = settings or load_settings()
        self._listener = emit
        self._open = contextlib.ExitStack()
        self._parts = Parts(self.settings, lambda: self.plugins, lambda event: self._listener(event))
        self._observers = Observers(self._observer_makers, lambda text: self._listener(Warned(text)))
        self._registries: dict[str, Registry] = {}
        self._locating = threading.Lock()
        self._locates: dict[str, Callable[[Reference], Endpoint]] = {}
        self._storages: dict[str, Storage] = {}
        self._fleet_engines: dict[str, FleetEngine] = {}
        if self.settings.qemu_image:  # told now, not by the first command that lacks an emulator
            parse_reference(self.settings.qemu_image, self.plugins.schemes())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        try:
            self.close()
        except Exception as failed:
            self._blame(failed)
            raise
        if isinstance(error, Exception):
            self._blame(error)

    def _blame(self, error: Exception) -> None:
        if "plugins" in self.__dict__:
            self._parts.blame(error)

    def close(self) -> None:
        """Give back connections, locks and files."""
        try:
            self._open.close()
        finally:
            self._observers.close()
        self._registries.clear()
        self._storages.clear()

    @cached_property
    def plugins(self) -> PluginHost:
        """The plugins in force. Broken ones are told as warnings, once."""
        host = PluginHost(self.settings)
        for problem in host.problems:
            self._listener(Warned(str(problem)))
        return host

    @cached_property
    def device(self) -> Device:
        """This machine, with the emulators that it has."""
        from polyarch.verbs.devices import with_emulators

        with platforms_errors():
            return with_emulators(self.machine, self.emulator_sources)

    @cached_property
    def machine(self) -> Device:
        """This machine by itself: what it executes natively, and what its kernel has registered."""
        from polyarch_platforms.host import detect, local_facts

        with platforms_errors():
            return detect(local_facts(self.settings.environ))

    @cached_property
    def emulator_sources(self) -> list[EmulatorSource]:
        """The places that emulators come from; those that would have to fetch them come last."""
        services = EmulatorServices(self.settings.qemu_directories, self.settings.qemu_image, self._image_files)

        def make(plugin: EmulatorPlugin) -> EmulatorSource:
            return plugin.factory(replace(services, options=self._parts.options(plugin.name)))

        made = [source for _, source in self._parts.each(EmulatorPlugin, make)]
        return sorted(made, key=lambda source: isinstance(source, FetchesEmulators))

    @abstractmethod
    def _image_files(self, reference: str, *, fetch: bool) -> Path | None:
        """What `contract.ImageFiles` says."""

    def named_device(self, name: str) -> Device:
        """The device called `name`, or the one in the file `name`. Raises UsageError."""
        from polyarch.verbs.devices import device_from

        with platforms_errors():
            return device_from(name)

    def _observer_makers(self) -> list[tuple[str, Callable[[], Observer]]]:
        def maker(plugin: ObserverPlugin) -> Callable[[], Observer]:
            return lambda: self._parts.checked(plugin, lambda plugin: plugin.factory(self._parts.services(plugin.name)))

        return [
            (f"{plugin.name} ({self.plugins.origin(plugin).distribution})", maker(plugin))
            for plugin in self.plugins.all(ObserverPlugin)
        ]

    def _emit(self, event: Event) -> None:
        self._listener(event)
        self._observers.notify(event)

    @cached_property
    def _registry_services(self) -> RegistryServices:
        from polyarch.registry.services import registry_services

        return self._open.enter_context(
            registry_services(
                self.settings,
                self._emit,
                login_words=self._login_words,
                said=self._machine_files,
                locate_elsewhere=self._located,
            )
        )

    @cached_property
    def _machine_files(self) -> MachineFiles:
        """What the files of podman and containerd say of registries."""
        from polyarch.registry.machine_files import MachineFiles

        return MachineFiles(self.settings)

    def _located(self, reference: Reference) -> Endpoint:
        """Where its own registry keeps a reference, as the plugin of that registry says."""
        from polyarch.registry.services import where_its_name_says

        with self._locating:
            self._registry(reference)
        return self._locates.get(self.plugins.registry_for(reference).name, where_its_name_says)(reference)

    def _login_words(self, registry: str) -> str:
        """How one gets credentials of a registry, in words; "" if nobody knows."""
        try:
            return self.plugins.registry_for(Reference(registry, "login", tag="")).login
        except UsageError:
            return ""

    def reference(self, text: str) -> Reference:
        """The reference that `text` is; of a short name that may be several, the first. Raises UsageError."""
        return self._names(text).references[0]

    def _names(self, text: str) -> Names:
        """The references that `text` may be. Other tools' files are read for names without a registry only."""
        from polyarch.registry.short_names import names_of

        return names_of(text, self._machine_files.conf, self.plugins.schemes())

    def _at_hand(self, text: str) -> tuple[Reference, ...]:
        """The names under which an image at hand may be meant, in the order in which they are looked for."""
        from polyarch.registry.short_names import at_hand

        return at_hand(self._names(text), text, self.plugins.schemes())

    def _taken(self, text: str) -> Reference:
        """The reference that `text` is, by asking the search registries for it where there are several; it is told.

        Raises UsageError; NotFoundError and the like where none has it.
        """
        from polyarch.registry.short_names import found

        names = self._names(text)
        taken = names.references[0]
        if len(names.references) > 1:
            taken = found(text, names, self._registry, self._emit)
        if names.how and taken != parse_reference(text):
            self._emit(NameTaken(text, str(taken), names.how, str(names.file)))
        return taken

    def _registry(self, reference: Reference) -> Registry:
        plugin: RegistryPlugin = self.plugins.registry_for(reference)
        if plugin.name not in self._registries:
            shared = self._registry_services

            def distribution(locate: Callable[[Reference], Endpoint]) -> Registry:
                self._locates.setdefault(plugin.name, locate)
                return shared.distribution(locate)

            services = replace(shared, options=self._parts.options(plugin.name), distribution=distribution)
            registry = self._parts.needed(plugin, lambda plugin: plugin.factory(services))
            self._open.callback(registry.close)
            self._registries[plugin.name] = registry
        return self._registries[plugin.name]

    def _searcher(self, plugin: RegistryPlugin) -> Search | None:
        """What searches a registry; None if it cannot."""
        make = plugin.search
        if make is None:
            return None
        services = replace(self._registry_services, options=self._parts.options(plugin.name))
        return self._parts.needed(plugin, lambda _: make(services), SEARCH)

    def storage(self, name: str = DEFAULT_STORAGE) -> Storage:
        """The storage that `NAME` or `NAME:LOCATION` means. Raises UsageError."""
        if name not in self._storages:
            made = self._made_storage(name)
            self._storages[name] = self._staged(made) if isinstance(made, ImageLoader) else made
        return self._storages[name]

    def _made_storage(self, name: str, location: str = "", *, kept: bool = True) -> Storage | ImageLoader:
        """`location` takes the place of what stands in `name`; what is not kept for long needs no sync."""
        kind, _, where = name.partition(":")
        plugin = self.plugins.storage(kind)
        settings = self.settings
        services = StorageServices(
            settings.root,
            location or where,
            settings.lock_timeout,
            kept and settings.sync == "batch",
            self._http_at,
            settings.environ,
            self._emit,
            self._parts.options(plugin.name),
            self._offered,
            lambda: self._registry_services.temporary(),
        )
        made = self._parts.needed(plugin, lambda plugin: plugin.factory(services))
        self._open.callback(made.close)
        return made

    def _http_at(self, socket: Path) -> Http:
        return self._registry_services.http_at(socket)

    def _offered(self, image: Image, blobs: HasBlobFiles) -> AbstractContextManager[OfferedImage]:
        from polyarch.serve.loopback import offered

        return offered(image, blobs)

    @cached_property
    def _staging(self) -> KeepsBlobs:
        """Where blobs on their way into a loader wait: a folder of the default storage's kind."""
        return as_files(self._made_storage(DEFAULT_STORAGE, str(self.settings.root / "staging"), kept=False))

    def _as_files(self) -> KeepsBlobs:
        """The default storage, whose blobs are files. Raises UsageError."""
        return as_files(self.storage())

    def _staged(self, loader: ImageLoader) -> StagedStorage:
        return StagedStorage(loader, self._staging, self._as_files())

    def _fleet_engine(self, inventory: Sequence[str]) -> tuple[FleetEngine, tuple[str, ...]]:
        """The engine that an inventory's words are for, and the words as it takes them.

        `NAME:WORDS` are those of the engine NAME, all others Ansible's. Raises UsageError where they are of several.
        """
        known = {plugin.name for plugin in self.plugins.all(FleetEnginePlugin)}
        asked: dict[str, list[str]] = {}
        for word in inventory:
            name, colon, rest = word.partition(":")
            own = bool(colon) and name in known
            asked.setdefault(name if own else DEFAULT_FLEET_ENGINE, []).append(rest if own else word)
        if len(asked) > 1:
            raise UsageError(f"an inventory is of one fleet engine, and this one is of {' and '.join(sorted(asked))}")
        name, words = next(iter(asked.items()), (DEFAULT_FLEET_ENGINE, []))
        if name not in self._fleet_engines:
            made = self._parts.needed(
                self.plugins.fleet_engine(name), lambda plugin: plugin.factory(self._parts.services(plugin.name))
            )
            self._fleet_engines[name] = made
        return self._fleet_engines[name], tuple(word for word in words if word)

    def _builders(self, name: str, run: RunsEmulated) -> list[tuple[str, Builder]]:
        """The builder of that name, or all that can be made. Raises UsageError for a name that nobody has."""

        def make(plugin: BuilderPlugin) -> Builder:
            state = (self.settings.root / "build" / plugin.name).absolute()
            return plugin.factory(BuilderServices(state, run, self._parts.options(plugin.name), self.settings.environ))

        return (
            [(name, self._parts.needed(self.plugins.builder(name), make))]
            if name
            else self._parts.each(BuilderPlugin, make)
        )

    def platform(self, text: str) -> Platform:
        """The platform that `text` names. Raises UsageError for an architecture that nobody has."""
        with platforms_errors():
            asked = parse(text)
        if not is_known(asked):
            hint = "write it as images do, such as linux/arm64 or linux/arm/v7"
            raise UsageError(f"no architecture is called '{printable(asked.architecture)}'", hint)
        return asked

    def _target(self, platform: str | None, device: str | None) -> tuple[Target, int | None]:
        """What is chosen for, and the page size of the device if it is known."""
        if platform is not None and device is not None:
            raise UsageError("a platform and a device cannot both be asked for", "take --platform or --device")
        if device is not None:
            named = self.named_device(device)
            return target_of(named), named.page_size
        if platform is not None:
            return target_for_platform(self.platform(platform), self.device), None
        return target_of(self.device, here=True), self.device.page_size

    def _documents(self, reference: Reference, storage: Storage) -> Documents:
        return Documents(self._registry(reference), storage if isinstance(storage, ReadsBlobs) else None)

    def _policy(self, emulation: EmulationPolicy | None) -> EmulationPolicy:
        return emulation or self.settings.emulation

    def _ability(self, storage: str, ability: type[A], cannot: str) -> A:
        opened: Storage | ImageLoader = self.storage(storage)
        if isinstance(opened, StagedStorage):
            opened = opened.loader
        if not isinstance(opened, ability):
            raise UsageError(f"the storage {storage} {cannot}")
        return opened


def as_files(storage: Storage | ImageLoader) -> KeepsBlobs:
    """The default storage, or one of its kind. Raises UsageError where a plugin in its place cannot do as much."""
    if not isinstance(storage, KeepsBlobs):
        raise UsageError(
            f"the storage {DEFAULT_STORAGE} does not keep blobs as files, so nothing can be loaded from it"
        )
    return storage
