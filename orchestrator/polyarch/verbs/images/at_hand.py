"""What there is, as briefly as giving up images needs it: the documents of ten thousand would be 250 MB."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from polyarch.contract.storage import Image, ImageSummary, ListsImages, SummarisesImages
from polyarch.oci.config import chain_ids
from polyarch.oci.digest import Digest, hex_of
from polyarch.reference import Reference
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class AtHand:
    """A name, the manifest of a variant under it, and the diff IDs of its layers."""

    reference: Reference
    manifest: Digest
    diff_ids: tuple[Digest, ...]


def at_hand(storage: ListsImages) -> tuple[AtHand, ...]:
    """Every image of a storage, none of which is held as a whole. Raises StorageError for a damaged one."""
    if isinstance(storage, SummarisesImages):
        found = [_brief(summary) for summary in storage.summaries()]
        if None not in found:
            return tuple(each for each in found if each)
    return tuple(map(brief, storage.images()))


def brief(image: Image) -> AtHand:
    """What is needed of an image."""
    return AtHand(image.reference, image.manifest.digest, tuple(image.config.diff_ids))


def _brief(summary: ImageSummary) -> AtHand | None:
    if not summary.manifest or summary.diff_ids is None:
        return None
    return AtHand(summary.reference, summary.manifest, summary.diff_ids)


def layers_of(images: Iterable[AtHand]) -> set[str]:
    """What the layers of these images are called when they are ready: the hexadecimal digits of their chain IDs."""
    return {hex_of(chain) for diff_ids in {image.diff_ids for image in images} for chain in chain_ids(diff_ids)}


class Whole(Collection[Image]):
    """Images of a storage, read when they are walked over, and not held: they may be all that there are."""

    def __init__(self, storage: ListsImages, chosen: Iterable[AtHand]) -> None:
        self._storage = storage
        self._chosen = {(each.reference, each.manifest) for each in chosen}

    def __iter__(self) -> Iterator[Image]:
        return (image for image in self._storage.images() if image in self)

    def __len__(self) -> int:
        return len(self._chosen)

    def __contains__(self, image: object) -> bool:
        return isinstance(image, Image) and (image.reference, image.manifest.digest) in self._chosen
