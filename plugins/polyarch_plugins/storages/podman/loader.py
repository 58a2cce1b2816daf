"""The storage: images that podman takes in, under the names that they were asked for by."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator

from polyarch.contract import (
    Digest,
    HasBlobFiles,
    Image,
    ImageSummary,
    NotFoundError,
    Reference,
    StorageError,
    StorageServices,
    UsageError,
    is_digest,
    parse_config,
    parse_reference,
    printable,
)
from polyarch_plugins.storages.podman.engine import Described, Engine, texts
from polyarch_plugins.storages.podman.place import find_place


def open_podman(services: StorageServices) -> PodmanLoader:
    """The podman that the user named, else the one that is found on PATH. Asks it nothing yet."""
    place = find_place(services.location, services.options, services.environ)
    if place.socket is not None:
        from polyarch_plugins.storages.podman.service import Service

        return PodmanLoader(Service(services.http_at(place.socket), place.socket))
    from polyarch_plugins.storages.podman.program import Program

    return PodmanLoader(Program(place.command, services.environ, services.temporary, services.offer))


class PodmanLoader:
    """Satisfies ImageLoader and SummarisesImages."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def has(self, image: Image) -> bool:
        """True if the name stands for the image's config, and podman knows it by its manifest."""
        known = self._engine.image(_name(image.reference))
        return known is not None and _id(known) == image.config.digest and image.manifest.digest in _digests(known)

    def lacks(self, image: Image) -> Collection[Digest]:
        """The layers that podman has not unpacked yet; the config travels with the image itself."""
        known = self._engine.layers()
        return frozenset(layer.digest for layer in image.manifest.layers if layer.digest not in known)

    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        """Let podman take it. It names an image when all its layers are there and are what the config promises."""
        name = _name(image.reference)
        try:
            self._engine.take(name, image, blobs)
        except NotFoundError as error:
            raise StorageError(f"{name}: {error.message}", "try again") from error
        if not self.has(image):
            raise StorageError(f"{name}: podman has taken it, but the name stands for another image there", "try again")

    def summaries(self) -> Iterator[ImageSummary]:
        """Every name with what podman tells of its image."""
        for names, known in self._engine.images():
            for text in names:
                with contextlib.suppress(UsageError):  # a name as only podman has them
                    yield _summary(parse_reference(text), known)

    def close(self) -> None:
        """Nothing to give back: connections are polyarch's."""


def _name(reference: Reference) -> str:
    """The name as podman takes it: a tag, where there is one, else a digest; never both. Raises UsageError."""
    if reference.scheme:
        raise UsageError(f"{reference.familiar}: podman keeps images under the names of registries, and this is none")
    return f"{reference.name}:{reference.tag}" if reference.tag else f"{reference.name}@{reference.digest}"


def _id(known: Described) -> Digest:
    return f"sha256:{known.get('Id')}".replace("sha256:sha256:", "sha256:")


def _digests(known: Described) -> set[str]:
    """By which digests podman knows an image: the manifest's, and that of the index which it came from."""
    return {str(known.get("Digest")), *(text.rpartition("@")[2] for text in texts(known.get("RepoDigests")))}


def _summary(name: Reference, known: Described) -> ImageSummary:
    identifier, digest, size = _id(known), known.get("Digest"), known.get("Size")
    if not is_digest(identifier) or not isinstance(size, int):
        raise StorageError(f"podman tells no ID and size of {printable(name.familiar)}")
    stated = {key.lower(): str(known.get(key) or "") for key in ("Os", "Architecture", "Variant")}
    return ImageSummary(
        reference=name,
        id=identifier,
        digest=digest if isinstance(digest, str) and is_digest(digest) else "",
        platform=parse_config(json.dumps(stated).encode(), f"podman, image {name.familiar}").platform,
        created=str(known.get("Created") or ""),
        size=size,
    )
