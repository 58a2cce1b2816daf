"""What images at hand consist of: their layers, the files in these, and what differs between two of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from polyarch.contract.storage import Image, ReadsBlobs


class SeenVerbs:
    """`session.seen`."""

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
