"""What images at hand consist of: their layers, the files in these, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from polyarch.contract.storage import Image, ReadsBlobs
from polyarch.errors import StorageError
from polyarch.events import Emit
from polyarch.oci.digest import Digest
from polyarch.unpack.limits import Limits
from polyarch.verbs.images.history import SeenFiles, SeenLayer, steps
from polyarch_platforms.platform import Platform

if TYPE_CHECKING:
    from polyarch.container.record import Record
    from polyarch.verbs.images.diff import ImageDifference
    from polyarch.verbs.images.layer_tree import Stack
    from polyarch.verbs.images.listing import ListedImage


class HasImages(Protocol):
    """What is needed of a session; see there."""

    def image(self, reference: str, *, platform: str | None = None) -> Image: ...

    def images(self) -> tuple[Image, ...]: ...

    def listing(self, storage: str) -> tuple[ListedImage, ...]: ...

    def platform(self, text: str) -> Platform: ...


class SeenVerbs:
    """`session.seen`. Every method raises what `Session.image` raises for names."""

    def __init__(
        self, cache: Path, images: HasImages, storage: Callable[[], ReadsBlobs], emit: Emit, limits: Limits
    ) -> None:
        """`cache` is the folder of what may be remembered."""
        self._cache = cache
        self._emit = emit
        self._limits = limits
        self._images = images
        self._storage = storage

    def listing(
        self, storage: str, *, pattern: str = "", filters: Sequence[str] = (), platform: str | None = None
    ) -> tuple[ListedImage, ...]:
        """The images in a storage that pass, see `image_filters.chosen`; `platform` may name several, with commas.

        Raises UsageError, NotFoundError.
        """
        from polyarch.verbs.images.filters import chosen

        platforms = [self._images.platform(one) for one in platform.split(",")] if platform else []
        return chosen(self._images.listing(storage), pattern, filters, platforms)

    def tree(self, listed: Sequence[ListedImage], containers: Sequence[Record]) -> list[Stack]:
        """The layers of these images, standing on each other, and the containers that stand on them.

        Containers of which the image is gone are shown where nothing is left out.
        """
        from polyarch.verbs.images.layer_tree import layer_tree

        wanted = {(each.reference, each.manifest) for each in listed}
        at_hand = self._images.images()
        images = [image for image in at_hand if (image.reference, image.manifest.digest) in wanted]
        shown = {image.manifest.digest for image in images}
        if len(images) == len(at_hand):
            return layer_tree(images, containers)
        return layer_tree(images, [container for container in containers if container.manifest in shown])

    def layers(self, image: Image) -> tuple[SeenLayer, ...]:
        """The layers of an image, bottom first."""
        lines = [step.line for step in steps(image) if step.layer is not None]
        users = self._users(image)
        return tuple(
            SeenLayer(blob, diff_id, line, None if users is None else tuple(sorted(users.get(blob.digest, ()))))
            for blob, diff_id, line in zip(image.manifest.layers, image.config.diff_ids, lines, strict=True)
        )

    def _users(self, image: Image) -> dict[Digest, set[str]] | None:
        """The names of the other images at hand by the layers that they have; None if one cannot be read."""
        users: dict[Digest, set[str]] = {}
        try:
            for other in self._images.images():
                if other.manifest.digest != image.manifest.digest:
                    for layer in other.manifest.layers:
                        users.setdefault(layer.digest, set()).add(str(other.reference))
        except StorageError:
            return None
        return users

    def files(self, reference: str, *, platform: str | None = None) -> SeenFiles:
        """What each layer of an image adds, changes and removes; the layers are walked only the first time.

        Raises IntegrityError where a layer is damaged, or cannot be unpacked over those below it.
        """
        return self._files(self._images.image(reference, platform=platform))

    def _files(self, image: Image) -> SeenFiles:
        from polyarch.verbs.images.listings import Listings

        return SeenFiles(image, Listings(self._cache, self._emit, self._limits).of(image, self._storage()))

    def diff(self, one: str, other: str, *, platform: str | None = None) -> ImageDifference:
        """What is different in the second image: its files, its config, its layers."""
        from polyarch.verbs.images.diff import difference

        images = [self._images.image(reference, platform=platform) for reference in (one, other)]
        return difference(*map(self._files, images))
