"""The storage: images loaded into the engine, under the names that they were asked for by."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import takewhile

from polyarch.contract import (
    Digest,
    HasBlobFiles,
    Image,
    ImageSummary,
    NotFoundError,
    OtherSize,
    Reference,
    StorageError,
    StorageServices,
    UsageError,
    parse_reference,
    tar_chunks,
)
from polyarch_plugins.storages.docker.archive import layers_only, layout
from polyarch_plugins.storages.docker.engine import Engine
from polyarch_plugins.storages.docker.place import find_socket
from polyarch_plugins.storages.engine_answers import Described, summary, texts


def open_docker(services: StorageServices) -> DockerLoader:
    """The engine that the user named, else the one that docker's own command would speak with. Asks it nothing yet."""
    socket = find_socket(services.location, services.options, services.environ)
    return DockerLoader(Engine(services.http_at(socket), socket))


class DockerLoader:
    """Satisfies ImageLoader, LoadsEarly and SummarisesImages."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def has(self, image: Image) -> bool:
        """True if the name stands for the image's config; or for its manifest, by which containerd's store knows it."""
        try:
            known = self._engine.image(_name(image.reference))
        except UsageError:
            return False
        return known is not None and known.get("Id") in (image.config.digest, image.manifest.digest)

    def lacks(self, image: Image) -> Collection[Digest]:
        """The layers above those that an image at hand has, too; the config travels with the image itself.

        Docker opens no file for a layer whose chain it has (moby, image/tarexport/load.go).
        """
        self._engine.image(_name(image.reference))  # a name that cannot be given is told before anything is fetched
        digests = [layer.digest for layer in image.manifest.layers]
        if not self._engine.keeps_layers():
            return frozenset(digests)
        stacks = [_diff_ids(known) for known in self._engine.images()]
        at_hand = max((_common(image.config.diff_ids, stack) for stack in stacks), default=0)
        return frozenset(digests[at_hand:])

    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        """Load it. Docker names an image when all its layers are there and are what their diff IDs promise."""
        self.load_early(image, blobs, lambda: None)

    def load_early(self, image: Image, blobs: HasBlobFiles, proven: Callable[[], None]) -> None:
        """Send the layers as they come, and last what makes an image of them: docker drops what breaks off before."""
        name = _name(image.reference)
        try:
            self._load(image, blobs, proven)
        except NotFoundError as error:
            raise StorageError(
                f"{name}: docker has given up layers that it had a moment ago: {error.message}", "try again"
            ) from error
        except StorageError as error:
            raise StorageError(f"{name}: {error.message}", error.hint, **error.details) from error
        if not self.has(image):
            raise StorageError(f"{name}: docker says that it loaded it, but the name stands for another image there")

    def _load(self, image: Image, blobs: HasBlobFiles, proven: Callable[[], None]) -> None:
        if not self._engine.keeps_layers():
            self._engine.load(tar_chunks(layout(image, blobs, proven)))
            return
        wanted, counted = self.lacks(image), set[str]()
        while True:
            try:
                self._engine.load(tar_chunks(layers_only(image, blobs, wanted, counted, proven)))
                return
            except OtherSize as other:  # docker has no whole archive then, and drops it
                if other.name in counted:
                    raise StorageError(f"{other.name} changed while it was read", "try again") from other
                counted.add(other.name)

    def summaries(self) -> Iterator[ImageSummary]:
        """Every name, a tag's or a digest's, with what docker tells of its image."""
        for known in self._engine.images():
            names = list(_references(known.get("RepoTags")))
            digests = list(_references(known.get("RepoDigests")))
            stated = {name.name: name.digest for name in digests}
            tagged = {name.name for name in names}
            for name in (*names, *(each for each in digests if each.name not in tagged)):
                yield summary(name, stated.get(name.name, ""), known.get("Id"), known, "docker")

    def close(self) -> None:
        """Nothing to give back: the connection is polyarch's."""


def _name(reference: Reference) -> str:
    """The name as docker writes it. Raises UsageError for one that it cannot give."""
    if reference.scheme or not reference.tag:
        raise UsageError(
            f"{reference.familiar}: docker loads an image under a name with a tag, and this is none",
            f"name a tag, too: {reference.familiar_name}:TAG@{reference.digest}" if reference.digest else None,
        )
    return f"{reference.familiar_name}:{reference.tag}"


def _references(value: object) -> Iterator[Reference]:
    for text in texts(value):
        with contextlib.suppress(UsageError):  # a name as only docker has them
            yield parse_reference(text)


def _diff_ids(known: Described) -> Sequence[Digest]:
    root_fs = known.get("RootFS")
    layers = root_fs.get("Layers") if isinstance(root_fs, dict) else None
    return layers if isinstance(layers, list) else ()


def _common(one: Sequence[Digest], other: Sequence[Digest]) -> int:
    """How many of the lowest layers are the same."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))
