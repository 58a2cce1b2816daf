"""Images from a Dockerfile, for several platforms at once, by a builder that is driven: what `polyarch build` does."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import field
from functools import partial
from pathlib import Path

from polyarch.container.apart import ProgramsApart
from polyarch.container.emulate import for_a_table
from polyarch.container.emulation import Emulators, native_architectures, private_refusal, registered_emulator
from polyarch.contract.builders import Build, BuildBase, Builder, RunsEmulated
from polyarch.contract.others import EmulatorSource
from polyarch.contract.storage import Image
from polyarch.errors import HostError, NoVariantError, UsageError
from polyarch.events import BuildSaid, Emit
from polyarch.files import temporary_folder
from polyarch.oci.compression import zstd_compressor
from polyarch.oci.source_date import source_date
from polyarch.reference import Reference, check_new_name
from polyarch.serve.address import LOOPBACK, format_address
from polyarch.serve.one_time import OneTimeServer
from polyarch.settings import Settings
from polyarch.transfer.staged import KeepsBlobs
from polyarch.unpack.limits import limits_of
from polyarch.unpack.recompress import Compression
from polyarch.verbs.building.bases import Bases, bases_of, platform_arguments, read_dockerfile, repository_of
from polyarch.verbs.building.result import BuiltVariant, commit, layers_of, take
from polyarch_platforms.device import Device
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

_FILES = ("Containerfile", "Dockerfile")
_NO_BASES = Bases((), "")


@dataclass(frozen=True, slots=True)
class BuildRequest:
    """What is to be built.

    `names` are those that the image gets; `file` is the Dockerfile, by default `Containerfile` or `Dockerfile` in the
    context; `platforms` are in the user's words, none means this machine's. `arguments`, `target`, `secrets` and
    `cache` are as in `contract.Build`. `builder` is a plugin's name, "" for the first that can be used here. `pull`:
    registries are asked for every base image, whatever is at hand. `compression`: how the layers that are made are to
    be compressed.
    """

    context: Path
    names: Sequence[str]
    file: Path | None = None
    platforms: Sequence[str] = ()
    arguments: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    secrets: Mapping[str, Path] = field(default_factory=dict)
    cache: bool = True
    builder: str = ""
    pull: bool = False
    compression: Compression | None = None


@dataclass(frozen=True, slots=True)
class BuildParts:
    """What a build needs of a session, each asked for when it is needed.

    `builders` makes the builder of that name, or all, which are handed what runs programs; `image` brings a name's
    variant for a platform, by the rule `missing` or `always`; `name` reads a reference to be given, `platform` the
    words of `--platform`.
    """

    builders: Callable[[str, RunsEmulated], Sequence[tuple[str, Builder]]]
    image: Callable[[str, str, str], Image]
    storage: Callable[[], KeepsBlobs]
    name: Callable[[str], Reference]
    platform: Callable[[str], Platform]
    machine: Callable[[], Device]
    sources: Callable[[], Sequence[EmulatorSource]]


class BuildVerbs:
    """`session.builds`."""

    def __init__(self, settings: Settings, parts: BuildParts, emit: Emit) -> None:
        self._settings, self._parts, self._emit = settings, parts, emit

    def build(self, request: BuildRequest) -> tuple[BuiltVariant, ...]:
        """Make the image for each platform, and let its names point at all of them.

        Raises UsageError where the words, the Dockerfile or one of its steps are wrong, then with what the builder
        said; HostError without a builder or an emulator, NoVariantError where there may be none; what pulling raises;
        IntegrityError where what was built is not what it says, or not for its platform.
        """
        names = [self._parts.name(text) for text in request.names]
        if not names:
            raise UsageError("the image needs a name", "give it one: --tag NAME")
        for name, given in zip(names, request.names, strict=True):
            check_new_name(name, given)
        if request.compression in ("zstd", "zstd:chunked"):
            zstd_compressor()  # without it nothing begins
        native = self._parts.machine().platform
        asked = [self._parts.platform(text) for text in request.platforms] or [native]
        plans = [_Plan(request, platform, native) for platform in dict.fromkeys(asked)]
        text = read_dockerfile(plans[0].file)
        timestamp = source_date(self._settings.environ)
        emulators: Emulators = {}
        programs = ProgramsApart(lambda: emulators)
        with self._builder(request.builder, programs) as builder:
            emulators |= self._emulators(asked)  # before anything is fetched
            storage = self._parts.storage()
            brought: dict[tuple[str, str], Image] = {}

            def image(name: str, platform: str) -> Image:
                if (name, platform) not in brought:
                    rule = "always" if request.pull else "missing"
                    one = brought[name, platform] = self._parts.image(name, platform, rule)
                    for blob in one.manifest.blobs:  # it is counted on from now
                        storage.has_blob(blob)
                return brought[name, platform]

            for plan in plans:
                plan.bases = bases_of(text, str(plan.file), plan.arguments, plan.platform, image)
            emulators |= self._emulators([one.platform for one in brought.values()])
            with (
                temporary_folder((self._settings.root / "build" / "tmp").absolute()) as work,
                OneTimeServer() as server,
            ):
                path = server.admit(list(brought.values()), storage)
                where = f"{format_address(LOOPBACK, server.port)}/{path}"

                def build(number: int) -> None:
                    plan = plans[number]
                    say = partial(self._say, str(plan.platform))
                    builder.build(plan.build(work, str(number), where, say, timestamp))

                self._all_at_once(build, len(plans), programs)
                if (fault := server.fault(path)) is not None:
                    raise fault
                taken = [
                    take(
                        work / str(number),
                        plan.platform,
                        names[0].familiar,
                        storage,
                        plan.bases.images,
                        work,
                        request.compression,
                        self._emit,
                        limits=limits_of(self._settings),
                    )
                    for number, plan in enumerate(plans)
                ]
            return commit(storage, taken, names)

    def _say(self, platform: str, line: str) -> None:
        self._emit(BuildSaid(platform, line))

    def _all_at_once(self, build: Callable[[int], None], count: int, programs: ProgramsApart) -> None:
        """One thread a platform, as many as there are cores. The first failure, and Ctrl-C, end all the others."""
        with ThreadPoolExecutor(min(count, os.cpu_count() or 1), thread_name_prefix="build") as threads:
            try:
                for done in as_completed([threads.submit(build, number) for number in range(count)]):
                    done.result()
            except BaseException:
                programs.end()
                threads.shutdown(cancel_futures=True)
                raise

    @contextmanager
    def _builder(self, name: str, programs: ProgramsApart) -> Iterator[Builder]:
        missing = []
        for _, builder in self._parts.builders(name, programs.run):
            lack = builder.missing()
            if lack:
                missing.append(lack)
                continue
            try:
                yield builder
            finally:
                programs.again()
                builder.close()
            return
        raise HostError(
            f"there is nothing that builds images here: {'; '.join(missing) or 'no plugin for it is in force'}",
            "apt install buildah" if any("buildah" in lack for lack in missing) else "see: polyarch plugin ls",
        )

    def _emulators(self, platforms: Sequence[Platform]) -> Emulators:
        """What has to be registered privately for these; none where the host's own registrations serve."""
        native = native_architectures(self._parts.machine())
        foreign = [platform for platform in dict.fromkeys(platforms) if platform.architecture not in native]
        if not foreign:
            return {}
        if self._settings.emulation == "never":
            raise NoVariantError(
                f"steps for {foreign[0]} run here only by emulation, which is not allowed",
                'set emulation = "auto" in the settings',
            )
        refusal = private_refusal()
        if refusal is None:
            return for_a_table(foreign, native, self._parts.sources(), everything=False)
        if all(registered_emulator(platform.architecture) for platform in foreign):
            return {}
        names = ",".join(dict.fromkeys(platform.architecture for platform in foreign))
        raise HostError(
            f"{refusal.message}: steps for {names} cannot be run",
            f"as root: polyarch emulator install {names.replace(',', ' ')}",
        )


@dataclass(slots=True)
class _Plan:
    """The build of one platform."""

    request: BuildRequest
    platform: Platform
    native: Platform
    bases: Bases = _NO_BASES

    @property
    def file(self) -> Path:
        """The Dockerfile. Raises UsageError where the context is no folder."""
        context = self.request.context
        if not context.is_dir():
            raise UsageError(f"{context} is no folder", "CONTEXT is the folder that COPY reads, no URL and no archive")
        if self.request.file is not None:
            return self.request.file
        return next((context / name for name in _FILES if (context / name).is_file()), context / _FILES[-1])

    @property
    def arguments(self) -> dict[str, str]:
        """Those of the platforms, and the user's."""
        return {**platform_arguments(self.platform, self.native), **self.request.arguments}

    def build(self, work: Path, name: str, where: str, say: Callable[[str], None], timestamp: int | None) -> Build:
        """What the builder is asked for, with files called `name…` in `work`; the bases are offered below `where`."""
        request = self.request
        pinned = work / f"{name}.Dockerfile"
        pinned.write_text(self.bases.text, newline="")
        ignore = self.file.with_name(f"{self.file.name}.dockerignore")
        return Build(
            context=request.context.absolute(),
            file=pinned,
            platform=self.platform,
            output=work / name,
            say=say,
            bases=tuple(
                BuildBase(repository_of(image), image.manifest.digest, f"{where}/{image.reference.repository}")
                for image in self.bases.images
            ),
            ignore=ignore.absolute() if ignore.is_file() else None,
            layers=frozenset(layers_of(self.bases.images)),
            arguments=self.arguments,
            target=request.target,
            secrets={name: path.absolute() for name, path in request.secrets.items()},
            cache=request.cache,
            timestamp=timestamp,
        )
