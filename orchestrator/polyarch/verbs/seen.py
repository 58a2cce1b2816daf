"""What images at hand consist of: their layers, the files in these, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.contract.storage import Image, ReadsBlobs
from polyarch.oci.config import HistoryLine
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest

if TYPE_CHECKING:
    from polyarch.unpack.merged import Merged
    from polyarch.verbs.image_diff import ImageDifference


@dataclass(frozen=True, slots=True)
class Step:
    """A line of an image's history, and the layer that it made, if it made one. Either may be unknown, not both."""

    line: HistoryLine | None
    layer: Descriptor | None


@dataclass(frozen=True, slots=True)
class SeenLayer:
    """A layer, the line of the history that made it, and the names of the other images that have it."""

    blob: Descriptor
    diff_id: Digest
    line: HistoryLine | None
    shared_with: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeenFiles:
    """An image, and what each of its layers brings."""

    image: Image
    merged: Merged


class SeenVerbs:
    """`session.seen`. Every method raises what `Session.image` raises for names."""

    def __init__(
        self,
        cache: Path,
        image: Callable[[str, str | None], Image],
        images: Callable[[], Sequence[Image]],
        storage: Callable[[], ReadsBlobs],
    ) -> None:
        """`cache` is the folder of what may be remembered; `image` finds one by name and platform, `images` all."""
        self._cache = cache
        self._image = image
        self._images = images
        self._storage = storage

    def layers(self, image: Image) -> tuple[SeenLayer, ...]:
        """The layers of an image, bottom first."""
        lines = [step.line for step in steps(image) if step.layer is not None]
        users: dict[Digest, dict[str, None]] = {}
        for other in self._images():
            if other.manifest.digest != image.manifest.digest:
                for layer in other.manifest.layers:
                    users.setdefault(layer.digest, {})[str(other.reference)] = None
        return tuple(
            SeenLayer(layer, diff_id, line, tuple(sorted(users.get(layer.digest, ()))))
            for layer, diff_id, line in zip(image.manifest.layers, image.config.diff_ids, lines, strict=True)
        )

    def files(self, reference: str, *, platform: str | None = None) -> SeenFiles:
        """What each layer of an image adds, changes and removes; the layers are walked only the first time.

        Raises IntegrityError where a layer is damaged, or cannot be unpacked over those below it.
        """
        return self._files(self._image(reference, platform))

    def _files(self, image: Image) -> SeenFiles:
        from polyarch.verbs.listings import Listings

        return SeenFiles(image, Listings(self._cache).of(image, self._storage()))

    def diff(self, one: str, other: str, *, platform: str | None = None) -> ImageDifference:
        """What is different in the second image: its files, its config, its layers."""
        from polyarch.verbs.image_diff import difference

        images = [self._image(reference, platform) for reference in (one, other)]
        return difference(*map(self._files, images))


def steps(image: Image) -> list[Step]:
    """The steps that made an image, the first one first. Layers of which the history says nothing come last."""
    layers = list(image.manifest.layers)
    found = [Step(line, layers.pop(0) if layers and not line.empty_layer else None) for line in image.config.history]
    return found + [Step(None, layer) for layer in layers]
