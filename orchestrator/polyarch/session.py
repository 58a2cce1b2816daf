"""One method a verb, joined from plugins, host and core. The command line is built on it, and so can any program::

    with Session() as session:
        for result in session.pull("alpine", platform="linux/arm64"):
            print(result.platform, result.root.digest)

Every method raises subclasses of PolyarchError, and nothing else but defects.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.composition import DEFAULT_STORAGE, Composition
from polyarch.contract.hooks import TagConventionPlugin, VerifierPlugin
from polyarch.contract.others import ReadsTags, TagConvention, Verifier, VerifierServices
from polyarch.contract.registry import ListsTags
from polyarch.contract.repair import TellsLacking
from polyarch.contract.storage import HasBlobFiles, Image, ListsImages, ReadsBlobs, RemovesImages, SummarisesImages
from polyarch.errors import UsageError, platforms_errors
from polyarch.events import PullStarted
from polyarch.reference import Reference, names_tag, parse_reference, parse_registry
from polyarch.resolution.documents import Documents
from polyarch.resolution.guarded import guarded
from polyarch.resolution.resolve import Resolution, resolve
from polyarch.selection.types import EmulationPolicy, Target
from polyarch.unpack.limits import limits_of
from polyarch.verbs.stored import by_id, find_whole, one_of

if TYPE_CHECKING:
    from polyarch.container.request import RunRequest
    from polyarch.container.run import Ran
    from polyarch.contract.registry import SearchResult
    from polyarch.lock.locked import LockedImage
    from polyarch.selection.types import Candidate
    from polyarch.verbs.building.build import BuildVerbs
    from polyarch.verbs.containers import ContainerVerbs
    from polyarch.verbs.doctor import Check
    from polyarch.verbs.emulator_verbs import EmulatorVerbs
    from polyarch.verbs.fleet.verbs import FleetVerbs
    from polyarch.verbs.images.archives import ArchiveParts
    from polyarch.verbs.images.kept import KeptVerbs
    from polyarch.verbs.images.listing import ListedImage
    from polyarch.verbs.images.seen import SeenVerbs
    from polyarch.verbs.lock import LockVerbs
    from polyarch.verbs.moving.moving import MovingVerbs
    from polyarch.verbs.plugins import PluginVerbs
    from polyarch.verbs.preparation import Preparer
    from polyarch.verbs.results import PullResult
    from polyarch.verbs.tags import VersionTags
    from polyarch.verbs.to_start import ImagesToStart


class Session(Composition):
    """Settings, plugins, connections and storages for as long as they are needed. Not shared between threads."""

    def resolve(
        self,
        reference: str,
        *,
        platform: str | None = None,
        device: str | None = None,
        emulation: EmulationPolicy | None = None,
    ) -> Resolution:
        """Which variant would be taken, and why no other. Fetches no layer.

        Raises UsageError, NotFoundError, NoVariantError, HostError, and what reading from a registry raises.
        """
        self.reference(reference)  # bad words are told before anything is asked
        target, _ = self._target(platform, device)
        parsed = self._taken(reference)
        return self._resolve(parsed, target, emulation, self._documents(parsed, self.storage()), known=False)

    def _resolve(
        self,
        reference: Reference,
        target: Target,
        emulation: EmulationPolicy | None,
        documents: Documents,
        *,
        known: bool,
    ) -> Resolution:
        return resolve(documents, reference, target, self._policy(emulation), self._conventions(), known=known)

    def _conventions(self) -> list[TagConvention]:
        made = self._parts.each(TagConventionPlugin, lambda plugin: plugin.factory(self._parts.services(plugin.name)))
        return [guarded(name, convention, self._emit) for name, convention in made]

    def _verifiers(self) -> list[Verifier]:
        settings = self.settings

        def make(plugin: VerifierPlugin) -> Verifier:
            options = self._parts.options(plugin.name)
            return plugin.factory(
                VerifierServices(
                    options,
                    settings.environ,
                    settings.policy,
                    settings.home,
                    lambda: self._registry_services.http,
                    lambda: self._registry_services.temporary(),
                )
            )

        return [self._parts.needed(plugin, make) for plugin in self.plugins.all(VerifierPlugin)]

    @cached_property
    def fleet(self) -> FleetVerbs:
        """The devices of a fleet: what each would get, bringing it there, and how they stand."""
        from polyarch.verbs.fleet.offers import ImageParts
        from polyarch.verbs.fleet.verbs import FleetParts, FleetVerbs

        def images() -> ImageParts:
            return ImageParts(self._registry, self._as_files(), self._conventions(), self.settings.retries)

        parts = FleetParts(self._fleet_engine, self.reference, images, self._verifiers, self.locks, DEFAULT_STORAGE)
        return FleetVerbs(self.settings, parts, self._emit)

    def pull(
        self,
        reference: str,
        *,
        platform: str | None = None,
        device: str | None = None,
        all_platforms: bool = False,
        emulation: EmulationPolicy | None = None,
        into: str = DEFAULT_STORAGE,
        max_connections: int | None = None,
        dry_run: bool = False,
        allow_mislabelled: bool = False,
        locked: LockedImage | None = None,
        prepare: bool = False,
    ) -> tuple[PullResult, ...]:
        """Bring the right variant in; one for each platform, where `platform` names several with commas between.

        With `prepare` the layers are made ready to be run, of several platforms those that this machine would run.
        `locked` is what `reference` was locked to (`locks.entry`): then that name's locked manifests alone are taken.
        Raises what `resolve` raises, and StorageError; IntegrityError if the name moved since it was locked.
        """
        from polyarch.resolution.moved import tell_if_moved
        from polyarch.verbs.locked_pull import check_root, held_to
        from polyarch.verbs.pull import PullContext, pull_all, pull_best

        self.reference(reference)
        if all_platforms and (platform or device):
            raise UsageError("all platforms and a certain one cannot both be asked for", "leave out --all-platforms")
        storage = self.storage(into)
        wanted = [] if all_platforms else [None] if platform is None else platform.split(",")
        if len(wanted) != 1 and not self.plugins.storage(into.partition(":")[0]).several_platforms:
            raise UsageError(f"{into} keeps one platform of a name", "name the platform that it shall be")
        if prepare and into != DEFAULT_STORAGE:
            raise UsageError(
                f"an image in {into} is not run by polyarch, so nothing is prepared", "leave out --prepare"
            )
        if prepare and dry_run:
            raise UsageError("a dry run prepares nothing", "leave out --prepare")
        targets = [self._target(one, device) for one in wanted]
        # Only now: before, it may still be the caller's words that are wrong.
        parsed = locked.reference if locked else self._taken(reference)
        self._emit(PullStarted(str(parsed), tag_defaulted=bool(parsed.tag) and not names_tag(reference)))
        documents = self._documents(parsed, storage)
        known = locked is not None or bool(find_whole(storage, parsed))
        if locked:
            check_root(locked, documents.root(parsed, known=known))  # before anybody asks what there is of it now
        context = partial(
            PullContext,
            documents=documents,
            storage=storage,
            storage_name=into,
            verifiers=self._verifiers(),
            max_connections=max_connections or self.settings.max_connections,
            retries=self.settings.retries,
            emit=self._emit,
            dry_run=dry_run,
            allow_mislabelled=allow_mislabelled,
            preparer=self._preparer(emulation, several=len(wanted) != 1) if prepare else None,
            limits=limits_of(self.settings),
        )
        with platforms_errors():
            if all_platforms:
                results = pull_all(context(), parsed, known=known, locked=locked)
            else:
                resolutions = [self._resolve(parsed, one, emulation, documents, known=known) for one, _ in targets]
                if locked:
                    resolutions = [held_to(locked, each) for each in resolutions]
                results = tuple(
                    pull_best(context(target=target, page_size=page_size), resolution)
                    for (target, page_size), resolution in zip(targets, resolutions, strict=True)
                )
            downloaded = [result for result in results if result.status == "downloaded"]
            for taken, digest in {(result.candidate.reference, result.root.digest) for result in downloaded}:
                tell_if_moved(documents.registry, taken, digest, self._emit)
            return results

    def _preparer(self, emulation: EmulationPolicy | None, *, several: bool) -> Preparer:
        from polyarch.selection.select import select
        from polyarch.verbs.preparation import Preparer

        target = self._target(None, None)[0] if several else None

        def wants(candidate: Candidate) -> bool:
            return target is None or bool(select((candidate,), target, self._policy(emulation)).ranked)

        return Preparer(self.settings, wants, self._emit)

    def images(self, storage: str = DEFAULT_STORAGE) -> tuple[Image, ...]:
        """Every image at hand. Raises UsageError for a storage that cannot tell."""
        return tuple(self._ability(storage, ListsImages, "cannot tell what it has").images())

    def listing(self, storage: str = DEFAULT_STORAGE) -> tuple[ListedImage, ...]:
        """Every image in a storage, as far as it knows them. Raises UsageError for one that cannot tell."""
        from polyarch.verbs.images.listing import of_images, of_lacking, of_summaries

        lister = self._ability(storage, object, "")
        if isinstance(lister, TellsLacking):
            whole, lacking = lister.examined()
            return (*of_summaries(whole), *map(of_lacking, lacking))
        if isinstance(lister, SummarisesImages):
            summaries = list(lister.summaries())
            if not isinstance(lister, ListsImages) or all(each.blobs is not None for each in summaries):
                return of_summaries(summaries)
        return of_images(self.images(storage))

    def image(self, reference: str, *, platform: str | None = None) -> Image:
        """The image at hand under a name, or with an ID or digest that starts so. Raises NotFoundError, UsageError."""
        found = self._found(reference)
        if platform is None and len({image.manifest.digest for image in found}) == 1:
            return found[0]  # whatever this machine is
        target, _ = self._target(platform, None)
        return one_of(found, reference, target, asked=platform is not None)

    @cached_property
    def seen(self) -> SeenVerbs:
        """What images at hand consist of, and what differs between them."""
        from polyarch.verbs.images.seen import SeenVerbs

        readable = partial(self._ability, DEFAULT_STORAGE, ReadsBlobs, "cannot be read")
        return SeenVerbs(self.settings.root / "cache", self, readable, self._emit, limits_of(self.settings))

    def _found(self, reference: str) -> tuple[Image, ...]:
        storage = self.storage()
        if isinstance(storage, ListsImages) and (found := by_id(storage.images(), reference)):
            return found
        return next((images for name in self._at_hand(reference) if (images := storage.find(name))), ())

    def run(
        self,
        reference: str,
        request: RunRequest,
        *,
        platform: str | None = None,
        emulation: EmulationPolicy | None = None,
        pull: str = "missing",
        allow_mislabelled: bool = False,
    ) -> Ran:
        """Start an image's program and wait for it, unless `request` says `detach`; what is missing is pulled first.

        `pull` is `missing`, `always` or `never`.
        """
        from polyarch.container.request import read_words
        from polyarch.container.run import run_container

        words = read_words(request)

        def start(image: Image, storage: HasBlobFiles) -> Ran:
            native = {platform.architecture for platform in self.machine.native}
            with platforms_errors():
                return run_container(
                    request,
                    words,
                    image,
                    storage,
                    self.machine,
                    () if image.platform.architecture in native else self.emulator_sources,
                    self.settings,
                    self._emit,
                    as_labelled=not allow_mislabelled,
                )

        return self._to_start.started(start, reference, platform, emulation, pull, allow_mislabelled)

    @cached_property
    def _to_start(self) -> ImagesToStart:
        from polyarch.verbs.to_start import ImagesToStart, StartParts

        parts = StartParts(
            found=self._found,
            machine=lambda: self.machine,
            target=lambda platform: self._target(platform, None)[0],
            policy=self._policy,
            pull=self.pull,
            storage=self.storage,
            files=partial(self._ability, DEFAULT_STORAGE, HasBlobFiles, "does not keep blobs as files: nothing starts"),
            settle=self._observers.settle,
            limits=limits_of(self.settings),
        )
        return ImagesToStart(parts)

    def _new_name(self, text: str) -> Reference:
        """A reference that is to be given, by docker's rule alone."""
        return parse_reference(text, self.plugins.schemes())

    @cached_property
    def containers(self) -> ContainerVerbs:
        """The containers, and what can be done with them."""
        from polyarch.verbs.containers import ContainerParts, ContainerVerbs

        parts = ContainerParts(
            started=self._to_start.started,
            storage=self._as_files,
            name=self._new_name,
            platform=self.platform,
            machine=lambda: self.machine,
            sources=lambda: self.emulator_sources,
        )
        return ContainerVerbs(self.settings, parts, self._emit)

    @cached_property
    def builds(self) -> BuildVerbs:
        """Images from Dockerfiles, for several platforms at once."""
        from polyarch.verbs.building.build import BuildParts, BuildVerbs

        parts = BuildParts(
            builders=self._builders,
            image=lambda name, platform, pull: self._to_start.image(name, platform, "never", pull),
            storage=self._as_files,
            name=self._new_name,
            platform=self.platform,
            machine=lambda: self.machine,
            sources=lambda: self.emulator_sources,
        )
        return BuildVerbs(self.settings, parts, self._emit)

    @cached_property
    def moving(self) -> MovingVerbs:
        """Images on their way to registries: pushed, copied from one to another, joined under one name."""
        from polyarch.verbs.moving.moving import MovingParts, MovingVerbs

        parts = MovingParts(
            self.storage, self._found, self.reference, self._taken, self._registry, self.platform, self._verifiers
        )
        return MovingVerbs(self.settings, parts, self._emit)

    @cached_property
    def locks(self) -> LockVerbs:
        """Lock files: what each name stood for when it was locked, and whether it still does."""
        from polyarch.verbs.lock import LockVerbs

        return LockVerbs(
            names=lambda text: self._names(text).references,
            taken=self._taken,
            documents=lambda reference: Documents(self._registry(reference)),
            conventions=self._conventions,
            environ=self.settings.environ,
            emit=self._emit,
        )

    @cached_property
    def plugin_verbs(self) -> PluginVerbs:
        """What plugins there are and what they can do, whether they keep the contract, and a skeleton for a new one."""
        from polyarch.verbs.plugins import PluginVerbs

        return PluginVerbs(self.settings, lambda: self.plugins, lambda: self._registry_services)

    def _image_files(self, reference: str, *, fetch: bool) -> Path | None:
        from polyarch.verbs.image_files import at_hand, unpacked

        directory = self.settings.root / "files"
        if not fetch:
            return at_hand(self._found(reference), directory)
        image = self._to_start.image(reference, None, "never", "missing")
        storage = self._ability(DEFAULT_STORAGE, ReadsBlobs, "cannot be read")
        return unpacked(image, storage, directory, limits=limits_of(self.settings))

    def emulate(self, platforms: Sequence[str], argv: Sequence[str], *, credential: bool = False) -> int:
        """Run any command in a private emulation of `platforms` (of all there are emulators for, if none is named).

        `credential`: foreign setuid programs get their rights, and so does their emulator.
        """
        from polyarch.container.emulate import emulate

        self._observers.settle()
        with platforms_errors():
            return emulate(
                [self.platform(platform) for platform in platforms],
                argv,
                self.device,
                self.emulator_sources,
                credential=credential,
                environ=self.settings.environ,
                emit=self._emit,
            )

    @cached_property
    def emulators(self) -> EmulatorVerbs:
        """The emulators of the whole machine: how they stand, and registering them."""
        from polyarch.verbs.emulator_verbs import EmulatorVerbs

        return EmulatorVerbs(lambda: self.device, lambda: self.emulator_sources)

    @cached_property
    def kept(self) -> KeptVerbs:
        """The images at hand: unpacking, naming, reading again, and giving them up."""
        from polyarch.verbs.images.kept import KeptParts, KeptVerbs

        def archives() -> ArchiveParts:
            from polyarch.verbs.images.archives import ArchiveParts

            pull = partial(self.pull, all_platforms=True)
            return ArchiveParts(self._made_storage, pull, self._registry_services.temporary, self._emit)

        parts = KeptParts(
            storage=self.storage,
            reads=lambda: self._ability(DEFAULT_STORAGE, ReadsBlobs, "cannot be read"),
            removes=lambda: self._ability(DEFAULT_STORAGE, RemovesImages, "cannot remove images"),
            staging=lambda: self._staging,
            found=self._found,
            one=lambda reference, platform: self.image(reference, platform=platform),
            names=self._at_hand,
            schemes=lambda: self.plugins.schemes(),
            archives=archives,
            verifiers=self._verifiers,
            registry=self._registry,
            emit=self._emit,
        )
        return KeptVerbs(self.settings, parts)

    def tags(self, reference: str) -> Iterator[str]:
        """The tags of a repository. Raises UsageError for a registry that cannot tell."""
        parsed = self.reference(reference)
        registry = self._registry(parsed)
        if not isinstance(registry, ListsTags):
            raise UsageError(f"{parsed.name}: its registry cannot list tags")
        return registry.tags(parsed)

    def grouped_tags(self, reference: str) -> tuple[VersionTags, ...]:
        """The tags of a repository by version, each with the platforms that conventions read out of them."""
        from polyarch.verbs.tags import grouped

        readers = [convention for convention in self._conventions() if isinstance(convention, ReadsTags)]
        return grouped(self.reference(reference).name, self.tags(reference), readers)

    def search(self, text: str, *, limit: int = 25, filters: Sequence[str] = ()) -> tuple[SearchResult, ...]:
        """The repositories that a registry finds for `[REGISTRY/]TERM`, Docker Hub if none is named.

        `filters` are `is-official=true|false` and `stars=N`. Raises UsageError for a registry that cannot search.
        """
        from polyarch.registry.mirrors import unblocked
        from polyarch.verbs.search import parse_filters, search, split_term

        somewhere = Reference(split_term(text)[0], "search", tag="")
        if (conf := self._machine_files.conf()) is not None:  # what searches asks hosts that no mirror stands for
            unblocked(somewhere, somewhere, conf)
        return search(self.plugins, self._searcher, self._registry, text, limit, parse_filters(filters))

    def login(self, registry: str, username: str, password: str) -> str:
        """Try credentials at a registry and keep them; returns where. Raises UnauthorizedError."""
        from polyarch.auth.credentials import Credentials
        from polyarch.registry.login import login

        somewhere = Reference(parse_registry(registry), "login", tag="")
        return login(self.settings, self._registry(somewhere), somewhere, Credentials(username, password))

    def logout(self, registry: str) -> bool:
        """Forget the credentials of a registry; False if there were none."""
        from polyarch.auth.store import logout

        return logout(self.settings, parse_registry(registry))

    def serve(self, listen: str | None, on_ready: Callable[[str], None]) -> None:
        """Offer the storage as a read-only registry until a signal ends it. `on_ready` is given the address."""
        from polyarch.serve.address import parse_listen
        from polyarch.serve.offer import Servable
        from polyarch.serve.server import serve_forever

        host, port = parse_listen(listen)
        storage = self._ability(DEFAULT_STORAGE, Servable, "cannot list its images and give out its blobs as files")
        serve_forever(storage, host, port, on_ready)

    def doctor(self) -> tuple[Check, ...]:
        """What works here and what does not; asks the registries in use whether they answer, for three seconds."""
        from polyarch.verbs.doctor import checks

        return checks(
            self.settings, self.plugins, self.emulator_sources, lambda: self.device, self.storage, self._verifiers
        )
