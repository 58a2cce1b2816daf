"""What the layers of an image may come to when they are read."""

from __future__ import annotations

import mmap

from polyarch.errors import IntegrityError
from polyarch.limits import MAX_IMAGE_ENTRIES, MAX_LAYER_RATIO, MAX_LAYER_SIZE
from polyarch.settings import Settings
from polyarch_platforms.lazy_dataclass import dataclass

RATIO_FROM = 1 << 30
"""Bytes from which on the ratio counts."""

_AT_ONCE = 1024  # counted before one looks at what other processes and threads have


@dataclass(frozen=True, slots=True)
class Limits:
    """One layer may need `size` bytes uncompressed, and, beyond the first GiB, at most `ratio` times the bytes that it
    travels with. All layers of an image together may have `entries`, see `LayerLimits.take`.
    """

    size: int = MAX_LAYER_SIZE
    entries: int = MAX_IMAGE_ENTRIES
    ratio: int = MAX_LAYER_RATIO

    def of_layers(self, count: int) -> tuple[LayerLimits, ...]:
        """What each of an image's layers is held to. They count together, in threads and forked processes, too."""
        shared = memoryview(mmap.mmap(-1, 8 * max(1, count))).cast("Q")
        return tuple(LayerLimits(self, shared, number) for number in range(count))

    def of_layer(self) -> LayerLimits:
        """The same where one layer is looked at by itself."""
        return self.of_layers(1)[0]


USUAL = Limits()
"""What holds where nobody says otherwise."""


def limits_of(settings: Settings) -> Limits:
    """What the user's settings say."""
    return Limits(settings.max_layer_size, settings.max_image_entries, settings.max_layer_ratio)


class LayerLimits:
    """What one layer of an image is held to: `size` and `ratio` as in `Limits`, and the entries of all of them."""

    __slots__ = ("_allowed", "_counts", "_entries", "_mine", "_number", "ratio", "size")

    def __init__(self, limits: Limits, counts: memoryview[int], number: int) -> None:
        self.size = limits.size
        self.ratio = limits.ratio
        self._entries = limits.entries
        self._counts = counts  # of each layer; only its own reader writes a layer's
        self._number = number
        self._mine = 0
        self._allowed = 0

    def begin(self) -> None:
        """The layer is read, perhaps again: what was counted of it counts no more."""
        self._mine = self._allowed = self._counts[self._number] = 0

    def take(self, count: int) -> None:
        """Count so many entries more. What takes memory counts: a header of an archive as one, a new directory as two
        more, an attribute and a piece of a file with holes as one, long names, targets of links and attributes as one
        for each 128 bytes besides. Raises IntegrityError beyond the limit.
        """
        self._mine += count
        if self._mine > self._allowed:
            self.settle()

    def settle(self) -> None:
        """Hold what was counted of all layers against the limit; at a layer's end, too, as others may be further on."""
        self._counts[self._number] = self._mine
        others = sum(self._counts) - self._mine
        if self._mine + others > self._entries:
            raise IntegrityError(
                f"its layers have more than {self._entries} entries together, which is the limit",
                'where the image is to be trusted, set a higher "max_image_entries" in the settings file',
            )
        self._allowed = min(self._mine + _AT_ONCE, self._entries - others)
