"""The storage: images that podman takes in, under the names that they were asked for by."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Collection, Iterator
from pathlib import Path

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
    parse_reference,
)
from polyarch_plugins.storages.engine_answers import Described, summary, texts
from polyarch_plugins.storages.podman.engine import Engine
from polyarch_plugins.storages.podman.place import open_engine


def open_podman(services: StorageServices) -> PodmanLoader:
    """The podman that the user named, else the one that is found on PATH. Asks it nothing yet."""
    return PodmanLoader(open_engine(services, services.location, services.offer))


class PodmanLoader:
    """Satisfies ImageLoader, LoadsEarly and SummarisesImages."""

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
        self.load_early(image, blobs, lambda: None)

    def load_early(self, image: Image, blobs: HasBlobFiles, proven: Callable[[], None]) -> None:
        """The same with layers that still come: the uppermost that podman lacks is kept back until the proof."""
        name = _name(image.reference)
        lacked = self.lacks(image)
        kept = next((layer.digest for layer in reversed(image.manifest.layers) if layer.digest in lacked), "")
        gate = Gate(blobs, kept, proven)
        if not kept:
            gate.open()
        try:
            self._engine.take(name, image, gate)
        except NotFoundError as error:
            raise StorageError(f"{name}: {error.message}", "try again") from error
        if not gate.opened:
            self._prove_after(name, gate)
        if not self.has(image):
            raise StorageError(f"{name}: podman has taken it, but the name stands for another image there", "try again")

    def _prove_after(self, name: str, gate: Gate) -> None:
        """Somebody else has brought podman the layer that was kept back, in the meantime."""
        try:
            gate.open()
        except StorageError:
            self._engine.remove(name)
            raise

    def summaries(self) -> Iterator[ImageSummary]:
        """Every name with what podman tells of its image."""
        for names, known in self._engine.images():
            digest = str(known.get("Digest"))
            for text in names:
                with contextlib.suppress(UsageError):  # a name as only podman has them
                    name = parse_reference(text)
                    yield summary(name, digest if is_digest(digest) else "", _id(known), known, "podman")

    def close(self) -> None:
        """End what still runs."""
        self._engine.close()


class Gate:
    """Blobs as files, of which one is not given out before the image is proven."""

    def __init__(self, blobs: HasBlobFiles, kept: Digest, proven: Callable[[], None]) -> None:
        self.opened = False
        self._blobs, self._kept, self._proven = blobs, kept, proven

    def open(self) -> None:
        """Wait for the proof. Raises StorageError where it will not come."""
        self._proven()
        self.opened = True

    def blob_path(self, digest: Digest) -> Path:
        """The file of the blob. Raises NotFoundError and StorageError."""
        path = self._blobs.blob_path(digest)
        if digest == self._kept:
            self.open()
        return path


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
