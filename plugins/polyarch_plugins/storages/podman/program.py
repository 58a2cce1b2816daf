"""podman's program: the images of the user who runs it, root's or an ordinary user's."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from functools import cached_property
from pathlib import Path

from polyarch.contract import (
    Digest,
    HasBlobFiles,
    HostError,
    Image,
    Index,
    NotFoundError,
    OfferedImage,
    StorageError,
    disk_error,
)
from polyarch_plugins.storages.engine_answers import Described, described, listed, parsed, texts
from polyarch_plugins.storages.podman.engine import complaint
from polyarch_plugins.storages.podman.layers import blobs_of_layers
from polyarch_plugins.storages.programs import PATIENCE, Done, Programs

_UNKNOWN = ("image not known", "no such image", "unable to find")
_CHECK = "try it: podman info"


class Program:
    """Satisfies Engine. Images come in by `podman pull` from polyarch itself, which is offered as the name's mirror.

    That is how podman takes several layers at once, none that it has, with the index that the name points at, under
    its own policy of signatures. From archives and layouts it reads one layer after the other.
    """

    def __init__(
        self,
        words: Sequence[str],
        environ: Mapping[str, str],
        temporary: Callable[[], Path],
        offer: Callable[[Image, HasBlobFiles], AbstractContextManager[OfferedImage]] | None = None,
    ) -> None:
        """`offer` is not needed where nothing is taken."""
        self._words = tuple(words)
        self._programs = Programs(environ, "install podman, such as with: apt install podman", _CHECK)
        self._temporary = temporary
        self._offer = offer

    def image(self, name: str) -> Described | None:
        """What it tells of an image."""
        done = self._run("image", "inspect", name)
        if done.code == 0:
            return next(_objects(done.output), None)
        if any(word in done.errors for word in _UNKNOWN):
            return None
        raise self._fault(done, name)

    def images(self) -> Iterator[tuple[tuple[str, ...], Described]]:
        """The names of each image, and what it tells of it."""
        found = self._run("image", "ls", "--all", "--no-trunc", "--format", "json")
        if found.code != 0:
            raise self._fault(found)
        names = {str(each.get("Id")): texts(each.get("Names")) for each in _objects(found.output)}
        if not names:
            return
        # One that went in the meantime is told on stderr, and left out.
        told = self._run("image", "inspect", *names)
        for each in _objects(told.output.strip() or b"null"):
            yield names.get(str(each.get("Id")), ()), each

    def layers(self) -> Collection[Digest]:
        """What its store says of its layers."""
        store = described(self._info.get("store"), "podman")
        return blobs_of_layers(Path(str(store.get("graphRoot"))), str(store.get("graphDriverName")))

    @cached_property
    def _info(self) -> Described:
        done = self._run("info", "--format", "json")
        if done.code != 0:
            raise self._fault(done)
        info = described(parsed(done.output, "podman"), "podman")
        if described(info.get("host"), "podman").get("serviceIsRemote"):
            raise HostError(
                "podman is a client of a service here, which cannot pull from this process",
                "name the service's socket: --into podman:/path/to.sock",
            )
        return info

    def take(self, name: str, image: Image, blobs: HasBlobFiles) -> None:
        """Let podman pull the name from here (containers-registries.conf(5), `prefix` and `location`)."""
        if self._offer is None:
            raise StorageError(f"{name}: there is no registry here to pull it from")
        _ = self._info
        settings = self._temporary() / f"{uuid.uuid4().hex}.conf"
        with self._offer(image, blobs) as offered:
            location = f"{offered.registry}/{offered.repository}/image"
            lines = [
                "[[registry]]",
                f"prefix = {json.dumps(image.reference.name)}",
                f"location = {json.dumps(location)}",
                "insecure = true",
            ]
            try:
                settings.write_text("\n".join(lines))
            except OSError as error:
                raise disk_error(error, f"cannot write {settings}") from error
            platform = ("--platform", str(offered.platform)) if isinstance(offered.root, Index) else ()
            try:
                done = self._run(
                    "pull", "--quiet", *platform, name, seconds=None, CONTAINERS_REGISTRIES_CONF=str(settings)
                )
            finally:
                settings.unlink(missing_ok=True)
            if done.code != 0:
                raise complaint(done.errors, name)

    def save(self, name: str, path: Path) -> None:
        """Write an image into a file."""
        words = ("image", "save", "--quiet", "--format", "docker-archive", "--output", str(path), name)
        done = self._run(*words, seconds=None)
        if done.code != 0:
            if any(word in done.errors for word in _UNKNOWN):
                raise NotFoundError(f"podman has no image {name}", "see: podman image ls")
            raise self._fault(done, name)

    def _fault(self, done: Done, what: str = "podman") -> Exception:
        """It takes no image to make podman fail at that: it is podman itself that does not work."""
        error = complaint(done.errors, what)
        if isinstance(error, StorageError) and error.hint is None:
            return HostError(f"podman does not work here: {error.message}", _CHECK)
        return error

    def remove(self, name: str) -> None:
        """Take a name away, and the image with its last one."""
        done = self._run("image", "rm", name)
        if done.code != 0 and not any(word in done.errors for word in _UNKNOWN):
            raise self._fault(done, name)

    def close(self) -> None:
        """End what still runs: nobody waits for it any more."""
        self._programs.close()

    def _run(self, *arguments: str, seconds: float | None = PATIENCE, **variables: str) -> Done:
        done = self._programs.run((*self._words, *arguments), seconds, **variables)
        # Behind warnings, which come first.
        lines = [line for line in done.errors.splitlines() if line.startswith("Error")]
        return replace(done, errors=lines[-1] if lines else done.errors[-2000:])


def _objects(output: bytes) -> Iterator[Described]:
    return (described(each, "podman") for each in listed(parsed(output, "podman"), "podman"))
