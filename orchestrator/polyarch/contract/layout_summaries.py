"""Summaries of the images of a layout on a disk, remembered: a list of ten thousand reads no 20,000 documents.

What is remembered of an entry of index.json holds as long as each document that it was read from is the same file, by
inode, size and times: whatever is written into one makes that it is read again, verified, and told if it is damaged.
Whether all blobs are there is looked at each time. Only images that are whole are remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias

from polyarch.contract.layout_images import LayoutImages, variants
from polyarch.contract.layout_names import is_made_here, reference_of, root_of
from polyarch.contract.storage import Image, ImageSummary
from polyarch.errors import NotFoundError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Manifest, is_attestation
from polyarch.oci.layout import Layout
from polyarch.oci.media_types import INDEXES
from polyarch_platforms.platform import Platform, from_oci, to_oci

_FORM = b"polyarch summaries 1 "
_FRESH = 50_000_000
"""Nanoseconds within which a file may be written twice and show the same time; the kernel's tick is 10 ms at most."""

_MOST_LABELS = 16 << 10
"""Characters of an image's labels; one that has more is read each time."""

Signature: TypeAlias = list[int]
"""Of a file: inode, size, times of the last write and of the last change of any kind, in nanoseconds."""

Numbered: TypeAlias = list[Any]
"""An entry: the numbers of its documents, and for each image the numbers of manifest, config and root, the platform,
the time of creation, the labels, the numbers of the blobs and their sizes (-1 - size for one that need not be here).
"""


class LayoutSummaries:
    """For one walk over the entries of a layout. `remembered` is `to_remember` of an earlier one, or b""."""

    def __init__(self, layout: Layout, images: LayoutImages, remembered: bytes = b"") -> None:
        self._layout, self._images = layout, images
        self._folder = f"{layout.directory}/blobs/"
        self._began = time.time_ns()
        self._now: dict[Digest, Signature | None] = {}
        self._platforms: dict[str, Platform] = {}
        self._digests: list[Digest] = []
        self._signatures: list[Signature | None] = []
        self._numbers: dict[Digest, int] = {}
        self._before: dict[str, Numbered] = {}
        self._after: dict[str, Numbered] = {}
        self.learnt = 0
        """How many entries are to be remembered that were not before."""
        self._recall(remembered)

    def of(self, entries: Iterable[Descriptor]) -> Iterator[ImageSummary]:
        """The images that are whole. Raises StorageError for a damaged one."""
        for entry in entries:
            key = _key(entry)
            known = self._before.get(key)
            if known is None or not self._holds(known):
                images = list(self._images.of(entry))
                yield from map(summary_of, images)
                if (made := self._made(entry, images)) is not None:
                    self._after[key] = made
                    self.learnt += 1
                continue
            self._after[key] = known
            reference, digests = reference_of(entry), self._digests
            for manifest, config, root, platform, created, labels, numbers, sizes in known[1]:
                blobs = {
                    digests[number]: size if size >= 0 else -1 - size
                    for number, size in zip(numbers, sizes, strict=True)
                }
                yield ImageSummary(
                    reference,
                    digests[config],
                    digests[root],
                    self._platform(platform),
                    created,
                    sum(blobs.values()),
                    digests[manifest],
                    labels,
                    blobs,
                )

    def to_remember(self) -> bytes:
        """What is to be given to the next one: of the entries that were walked over."""
        digests: list[Digest] = []
        signatures: list[Signature | None] = []
        places: dict[int, int] = {}

        def place(number: int) -> int:
            if number not in places:
                places[number] = len(digests)
                digests.append(self._digests[number])
                signatures.append(self._signatures[number])
            return places[number]

        entries = {
            key: [
                [place(number) for number in documents],
                [
                    [*map(place, image[:3]), *image[3:6], [place(number) for number in image[6]], image[7]]
                    for image in images
                ],
            ]
            for key, (documents, images) in self._after.items()
        }
        made = {"digests": digests, "signatures": signatures, "entries": entries}
        body = json.dumps(made, separators=(",", ":")).encode()
        return _FORM + hashlib.sha256(body).hexdigest().encode() + b"\n" + body

    def _recall(self, remembered: bytes) -> None:
        head, _, body = remembered.partition(b"\n")
        if head != _FORM + hashlib.sha256(body).hexdigest().encode():
            return
        known = json.loads(body)  # of which the digest says that it was written here
        self._digests, self._signatures, self._before = known["digests"], known["signatures"], known["entries"]

    def _holds(self, known: Numbered) -> bool:
        """Whether all documents are the files that were read, and all blobs are here."""
        digests, signatures = self._digests, self._signatures
        if any(self._signature(digests[number]) != signatures[number] for number in known[0]):
            return False
        for image in known[1]:
            for number, size in zip(image[6], image[7], strict=True):
                if size >= 0 and ((file := self._signature(digests[number])) is None or file[1] != size):
                    return False
        return True

    def _signature(self, digest: Digest) -> Signature | None:
        if digest not in self._now:
            try:
                found = os.stat(self._folder + digest.replace(":", "/", 1))  # noqa: PTH116 - 30,000 Paths are dear
            except OSError:
                self._now[digest] = None
            else:
                self._now[digest] = [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
        return self._now[digest]

    def _made(self, entry: Descriptor, images: list[Image]) -> Numbered | None:
        """What there is to remember; None if it is not all that the entry may lead to one day."""
        root = root_of(entry).digest
        indexes = self._indexes(entry)
        if indexes is None or not images or (indexes and len(images) != len(variants(self._layout, entry))):
            return None
        documents = {entry.digest, root, *indexes}
        for image in images:
            documents |= {image.manifest.digest, image.config.digest}
            if image.root.digest != root or len(str(image.config.labels)) > _MOST_LABELS:
                return None
        numbers = [self._number(digest) for digest in sorted(documents)]
        for digest, number in zip(sorted(documents), numbers, strict=True):
            self._now.pop(digest, None)  # as it is after it was read
            file = self._signatures[number] = self._signature(digest)
            if file is None or max(file[2:]) > self._began - _FRESH:
                return None
        return [numbers, [self._image(image) for image in images]]

    def _indexes(self, descriptor: Descriptor) -> set[Digest] | None:
        """All indexes below; None if something that they name is not here, and may come."""
        if descriptor.media_type not in INDEXES:
            return set()
        found = {descriptor.digest}
        try:
            document = self._layout.read_document(descriptor)
        except NotFoundError:  # somebody removed it since
            return None
        for each in () if isinstance(document, Manifest) else document.manifests:
            if is_attestation(each):
                continue
            below = self._indexes(each) if self._layout.has_blob(each) else None
            if below is None:
                return None
            found |= below
        return found

    def _image(self, image: Image) -> Numbered:
        blobs = image.manifest.blobs
        return [
            self._number(image.manifest.digest),
            self._number(image.config.digest),
            self._number(image.root.digest),
            to_oci(image.platform),
            image.config.created,
            dict(image.config.labels),
            [self._number(blob.digest) for blob in blobs],
            [-1 - blob.size if blob.urls else blob.size for blob in blobs],
        ]

    def _number(self, digest: Digest) -> int:
        if not self._numbers:
            self._numbers = {known: number for number, known in enumerate(self._digests)}
        if digest not in self._numbers:
            self._numbers[digest] = len(self._digests)
            self._digests.append(digest)
            self._signatures.append(None)
        return self._numbers[digest]

    def _platform(self, stated: dict[str, object]) -> Platform:
        key = str(stated)
        if key not in self._platforms:
            self._platforms[key] = from_oci(stated)
        return self._platforms[key]


def summary_of(image: Image) -> ImageSummary:
    """All that a summary may tell."""
    return ImageSummary(
        image.reference,
        image.config.digest,
        image.root.digest,
        image.platform,
        image.config.created,
        image.manifest.size,
        image.manifest.digest,
        image.config.labels,
        {blob.digest: blob.size for blob in image.manifest.blobs},
    )


def _key(entry: Descriptor) -> str:
    """All of an entry that its images depend on, but their name."""
    made, platform = is_made_here(entry), entry.platform
    stated = f" {platform!r}" if platform else ""
    root = root_of(entry)
    moved = f" {root.digest} {root.media_type}" if root.digest != entry.digest else ""
    return f"{entry.digest} {entry.size} {entry.media_type} {made:d}{stated}{moved}"
