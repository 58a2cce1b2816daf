"""What an image at hand was made of: the steps of its history, its layers, the files in these."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyarch.contract.storage import Image
from polyarch.oci.config import HistoryLine
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from polyarch.unpack.merged import Merged


@dataclass(frozen=True, slots=True)
class Step:
    """A line of an image's history, and the layer that it made, if it made one. Either may be unknown, not both."""

    line: HistoryLine | None
    layer: Descriptor | None


@dataclass(frozen=True, slots=True)
class SeenLayer:
    """A layer, the line of the history that made it, and the names of the other images that have it.

    None for those where that cannot be told: another image is damaged.
    """

    blob: Descriptor
    diff_id: Digest
    line: HistoryLine | None
    shared_with: tuple[str, ...] | None


@dataclass(frozen=True, slots=True)
class SeenFiles:
    """An image, and what each of its layers brings."""

    image: Image
    merged: Merged


def steps(image: Image) -> list[Step]:
    """The steps that made an image, the first one first. Layers of which the history says nothing come last."""
    layers = list(image.manifest.layers)
    found = [Step(line, layers.pop(0) if layers and not line.empty_layer else None) for line in image.config.history]
    return found + [Step(None, layer) for layer in layers]
