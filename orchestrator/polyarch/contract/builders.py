"""What makes images from Dockerfiles. Polyarch brings the base images, lends emulation, and takes what comes out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import field
from pathlib import Path
from typing import Protocol

from polyarch.errors import HostError
from polyarch.oci.digest import Digest
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform


@dataclass(frozen=True, slots=True)
class BuildBase:
    """An image that a Dockerfile names, in FROM or in `COPY --from`.

    name      the whole name, without tag: `docker.io/library/debian`
    digest    of the manifest that is to be taken
    location  where that is to be had by its digest, over plain HTTP: `127.0.0.1:PORT/PATH`
    """

    name: str
    digest: Digest
    location: str


@dataclass(frozen=True, slots=True)
class Build:
    """One image to be made, of one platform.

    context    the folder that COPY and ADD read
    file       the Dockerfile; a copy, in which every image stands as NAME@DIGEST of one of `bases`
    ignore     a file that takes the place of the `.dockerignore` in `context`, None for none
    bases      all the images that may be taken, and no other shall be
    layers     diff IDs of the layers of `bases`: their blobs may be left out of `output`
    arguments  `--build-arg`
    target     the stage to stop at, "" for the last
    secrets    ID -> file with the content, for `RUN --mount=type=secret`
    cache      whether steps made before may be taken again
    timestamp  seconds since 1970 that times in the image are to be, None for the clock's
    output     a folder that is not there yet, for the result: an OCI image layout with one image
    say        is given each line that there is to tell
    """

    context: Path
    file: Path
    platform: Platform
    output: Path
    say: Callable[[str], None]
    ignore: Path | None = None
    bases: tuple[BuildBase, ...] = ()
    layers: frozenset[Digest] = frozenset()
    arguments: Mapping[str, str] = field(default_factory=dict)
    target: str = ""
    secrets: Mapping[str, Path] = field(default_factory=dict)
    cache: bool = True
    timestamp: int | None = None


class RunsEmulated(Protocol):
    """Starts programs where those of foreign platforms start, too."""

    def __call__(self, argv: Sequence[str], environ: Mapping[str, str], line: Callable[[str], None]) -> int:
        """Run a program to its end; its exit code, 128 and the number of a signal.

        It is root in a user namespace, with the user's subordinate IDs, first process of a PID namespace, and has a
        mount namespace with its own /proc: when it ends, nothing of it is left. `environ` is all of its environment,
        standard input is empty, and `line` is given each line of what it writes. May be called from several threads.
        Raises HostError where that cannot be, InterruptedPull where the build is at its end.
        """


def nothing_runs(argv: Sequence[str], environ: Mapping[str, str], line: Callable[[str], None]) -> int:
    """Where there is no session around the builder: HostError."""
    raise HostError(f"{argv[0]} cannot be started here")


@dataclass(frozen=True, slots=True)
class BuilderServices:
    """What polyarch hands to the factory of a builder.

    `state` is a folder for what shall stay from one build to the next, which the builder makes. `options` is the table
    `[options.NAME]` of the settings file, `environ` the environment.
    """

    state: Path = Path()
    run: RunsEmulated = nothing_runs
    options: Mapping[str, object] = field(default_factory=dict, repr=False)
    environ: Mapping[str, str] = field(default_factory=dict, repr=False)


class Builder(Protocol):
    """A program that makes images from Dockerfiles, driven."""

    def missing(self) -> str:
        """What this machine lacks for it, in words, and how to get it; "" if it can be used. Starts nothing."""

    def build(self, build: Build) -> None:
        """Make the image and leave it in `build.output`. Several builds may go on at once, in threads.

        Raises UsageError, with the words of what failed, where the Dockerfile or one of its steps is wrong; HostError,
        StorageError.
        """

    def close(self) -> None:
        """No build goes on any more, also because the user ended it: take away what is of no use to the next."""
