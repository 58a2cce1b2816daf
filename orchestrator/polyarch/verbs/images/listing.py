"""The images of a storage, as far as it knows them, and how their layers stand on each other."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from polyarch.contract.layout_summaries import summary_of
from polyarch.contract.storage import Image, ImageSummary, is_unnamed
from polyarch.oci.digest import Digest
from polyarch.reference import Reference
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform


@dataclass(frozen=True, slots=True)
class ListedImage:
    """A variant under a name. None, and "" for the time, is what the storage does not know. Sizes are in bytes.

    `blobs` are the sizes of its config and layers, by digest. `damaged`: what the name leads to is not whole any
    more, and nothing else is known of it.
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
    damaged: bool = False

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


def of_images(images: Iterable[Image]) -> tuple[ListedImage, ...]:
    """Of a storage that keeps all documents."""
    return of_summaries([summary_of(image) for image in images])


def of_summaries(summaries: Sequence[ImageSummary]) -> tuple[ListedImage, ...]:
    """Of one that tells its images in short."""
    shared = _shared_sizes(summaries)
    return tuple(
        ListedImage(
            reference=summary.reference,
            id=summary.id,
            digest=summary.digest or None,
            manifest=summary.manifest or None,
            platform=summary.platform,
            created=summary.created,
            size=summary.size,
            shared_size=shared.get(summary.manifest),
            labels=summary.labels,
            blobs=summary.blobs,
        )
        for summary in summaries
    )


def of_lacking(name: Reference) -> ListedImage:
    """Of a name that leads to something of which parts are gone or damaged."""
    return ListedImage(name, "", None, None, Platform("unknown", "unknown"), "", 0, None, {}, {}, damaged=True)


def _shared_sizes(summaries: Sequence[ImageSummary]) -> dict[Digest, int]:
    """For each manifest, the bytes of its blobs that another one needs, too; {} where not all is known."""
    users: dict[Digest, Digest] = {}
    shared: set[Digest] = set()
    for summary in summaries:
        if summary.blobs is None or not summary.manifest:
            return {}
        for blob in summary.blobs:
            if users.setdefault(blob, summary.manifest) != summary.manifest:
                shared.add(blob)
    return {
        summary.manifest: sum(size for blob, size in (summary.blobs or {}).items() if blob in shared)
        for summary in summaries
    }
