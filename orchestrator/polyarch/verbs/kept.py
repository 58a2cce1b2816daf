"""The images at hand of a session: unpacking, naming, reading again, and giving them up."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from polyarch.contract.storage import Image, ReadsBlobs, RemovesImages, Storage
from polyarch.errors import NotFoundError, StorageError, UsageError, platforms_errors
from polyarch.reference import Reference, parse_reference
from polyarch.settings import Settings
from polyarch.transfer.staged import KeepsBlobs
from polyarch.verbs.results import VerifiedImage
from polyarch_platforms.platform import Platform, parse


@dataclass(frozen=True, slots=True)
class KeptParts:
    """What these verbs work with; everything is made when it is first asked for.

    `found` are the images that a text means, `one` is the one of them that fits a platform, `names` are the names that
    it may mean; `schemes` are those of plugins.
    """

    storage: Callable[[], Storage]
    reads: Callable[[], ReadsBlobs]
    removes: Callable[[], RemovesImages]
    staging: Callable[[], KeepsBlobs]
    found: Callable[[str], tuple[Image, ...]]
    one: Callable[[str, str | None], Image]
    names: Callable[[str], tuple[Reference, ...]]
    schemes: Callable[[], Collection[str]]


class KeptVerbs:
    """`session.kept`. An image is named by a name, or by an ID or digest that starts so."""

    def __init__(self, settings: Settings, parts: KeptParts) -> None:
        self._root = settings.root
        self._parts = parts

    def unpack(self, reference: str, directory: Path, *, platform: str | None = None) -> Image:
        """Write the merged root file system of an image at hand into `directory`, which is made."""
        from polyarch.unpack.image import unpack_image

        image = self._parts.one(reference, platform)
        storage = self._parts.reads()
        layers = [partial(storage.open_blob, layer.digest) for layer in image.manifest.layers]
        unpack_image(layers, image.config.diff_ids, directory)
        return image

    def tag(self, reference: str, new: str) -> Reference:
        """Let a further name point at an image at hand, with all its platforms; that name, whole, by docker's rule."""
        name = parse_reference(new, self._parts.schemes())
        if name.digest:
            raise UsageError(f"{new} names a digest, which cannot be given to an image", "name a tag")
        for image in self._at_hand(reference):
            self._parts.storage().commit(replace(image, reference=name))
        return name

    def verify(self, reference: str) -> tuple[VerifiedImage, ...]:
        """Read an image at hand again, all its platforms; what is wrong stands in the results."""
        from polyarch.verbs.verify import verify_image

        storage, found = self._parts.reads(), self._at_hand(reference)
        with platforms_errors():
            return tuple(verify_image(storage, image) for image in found)

    def remove(self, reference: str, *, platform: str | None = None) -> tuple[str, ...]:
        """Take a name, or one platform of it, away; returns the blobs that went. Raises NotFoundError."""
        storage = self._parts.removes()
        try:
            names = dict.fromkeys(image.reference for image in self._parts.found(reference))
        except StorageError:
            names = dict.fromkeys(self._there(reference))  # what is damaged goes by its name
        if not names:
            raise NotFoundError(f"{reference} is not in the storage", "see: polyarch image ls")
        with platforms_errors():
            wanted: Platform | None = parse(platform) if platform else None
        removed: list[str] = []
        for name in names:
            removed += storage.remove(name, wanted)
        return tuple(removed)

    def prune(self) -> tuple[tuple[str, int], ...]:
        """Remove what no image needs, and what waits for a pull into an engine; (digest, bytes) of each."""
        return self._parts.removes().prune() + self._parts.staging().prune()

    def _at_hand(self, reference: str) -> tuple[Image, ...]:
        found = self._parts.found(reference)
        if not found:
            raise NotFoundError(f"{reference} is not in the storage", f"bring it with: polyarch pull {reference}")
        return found

    def _there(self, reference: str) -> list[Reference]:
        """The name among those that a text may mean under which there is something, whole or damaged."""
        for name in self._parts.names(reference):
            try:
                if self._parts.storage().find(name):
                    return [name]
            except StorageError:
                return [name]
        return []
