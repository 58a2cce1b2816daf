"""The images of a storage, as far as it knows them, and how their layers stand on each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from polyarch.contract.storage import Image, ImageSummary, is_unnamed
from polyarch.oci.digest import Digest
from polyarch.reference import Reference
from polyarch.verbs.stored import shared_sizes
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A variant under a name. None, and "" for the time, is what the storage does not know. Sizes are in bytes.

    `blobs` are the sizes of its config and layers, by digest.
    """

    reference: Reference
    id: Digest
    digest: Digest | None
    manifest: Digest | None
    platform: Platform
    created: str
    size: int
    shared_size: int | None
    labels: Mapping[str, str] | None = None
    blobs: Mapping[Digest, int] | None = None

    @property
    def dangling(self) -> bool:
        """Whether it has no name any more: `image prune` would remove it."""
        return is_unnamed(self.reference)


def total_size(images: Iterable[ListedImage]) -> int | None:
    """Bytes of all these images, what several of them have counted once; None where the storage does not tell."""
    sizes: dict[Digest, int] = {}
    for image in images:
        if image.blobs is None:
            return None
        sizes.update(image.blobs)
    return sum(sizes.values())


def of_images(images: Sequence[Image]) -> tuple[ListedImage, ...]:
    """Of a storage that keeps all documents."""
    shared = shared_sizes(images)
    return tuple(
        ListedImage(
            reference=image.reference,
            id=image.config.digest,
            digest=image.root.digest,
            manifest=image.manifest.digest,
            platform=image.platform,
            created=image.config.created,
            size=image.manifest.size,
            shared_size=shared[image.manifest.digest],
            labels=image.config.labels,
            blobs={blob.digest: blob.size for blob in image.manifest.blobs},
        )
        for image in images
    )


def of_summaries(summaries: Iterable[ImageSummary]) -> tuple[ListedImage, ...]:
    """Of one that tells less."""
    return tuple(
        ListedImage(
            reference=summary.reference,
            id=summary.id,
            digest=summary.digest or None,
            manifest=None,
            platform=summary.platform,
            created=summary.created,
            size=summary.size,
            shared_size=None,
        )
        for summary in summaries
    )
