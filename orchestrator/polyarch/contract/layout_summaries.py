"""Summaries of the images of a layout on a disk, remembered: a list of ten thousand reads no 20,000 documents.

What is remembered of an entry of index.json, a line each, holds as long as each document that it was read from is the
same file, by inode, size and times: whatever is written into one makes that it is read again, verified, and told if it
is damaged. Whether all blobs are there is looked at each time. Only images that are whole are remembered.
"""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from polyarch.contract.layout_images import LayoutImages, needed, needs, variants
from polyarch.contract.layout_names import is_made_here, reference_of, root_of
from polyarch.contract.storage import Image, ImageSummary
from polyarch.errors import NotFoundError, StorageError
from polyarch.files import disk_error, is_fault
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Document
from polyarch.oci.layout import Layout
from polyarch.reference import Reference
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, from_oci, to_oci

_FORM = b"polyarch summary 2 "
_CHECKED, _KEYED = 16, 32
"""Hexadecimal digits at the beginning of a line: that it was written so, and which entry it is about."""

_COARSE = 5
"""CLOCK_REALTIME_COARSE of Linux, which gives files their times: clock_gettime(2)."""

_PAUSE, _PAUSES = 0.002, 10
"""Seconds; the coarse clock ticks each 10 ms at most."""

_MOST_LABELS = 16 << 10
"""Characters of an image's labels; one that has more is read each time."""

Signature: TypeAlias = "list[int] | None"
"""Of a file: inode, size, times of the last write and of any change, in nanoseconds. None where it is not here."""

Numbered: TypeAlias = list[Any]
"""An image: the numbers of manifest, config and root, the platform, the time of creation, the labels, the numbers of
the blobs, their sizes (-1 - size for one that need not be here), and the diff IDs.
"""


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of an entry: all digests that it needs, the documents first, of which there are `signatures`."""

    digests: list[Digest]
    signatures: list[Signature]
    images: list[Numbered]


class LayoutSummaries:
    """For one walk over the entries of a layout. `remembered` are lines of earlier ones; of several about the same
    entry the last counts.
    """

    def __init__(self, layout: Layout, remembered: Iterable[bytes] = ()) -> None:
        self._layout, self._remembered = layout, remembered
        self._folder = f"{layout.directory}/blobs/"
        self._now: dict[Digest, Signature] = {}
        self._platforms: dict[str, Platform] = {}
        self._one: dict[Digest, Digest] = {}
        self._lines: dict[bytes, bytes] = {}
        self.learnt = 0
        """How many entries are to be remembered that were not before."""
        self.past = 0
        """How many lines say nothing any more."""
        self.lacking: list[Reference] = []
        """The names that were walked over under which parts are gone."""
        self.damaged: list[Reference] = []
        """Those under which a document is not what it was: filled where they were gone past."""

    def of(self, entries: Sequence[Descriptor], *, past_damage: bool = False) -> Iterator[ImageSummary]:
        """The images that are whole. Raises StorageError for a damaged one, unless it goes on `past_damage`: then its
        name is among those that are `damaged`. A disk that cannot be read now is told in any case.
        """
        for entry, key in zip(entries, self._recall(entries), strict=True):
            known = self._known(key)
            if known is not None and self._is_whole(known):
                yield from self._told(entry, known)
                continue
            self._lines.pop(key, None)
            try:
                images, line, _ = self._read(entry, key)
            except StorageError as error:
                if is_fault(error) or not past_damage:
                    raise
                self.damaged.append(reference_of(entry))
                continue
            yield from map(summary_of, images)
            if line is not None:
                self._lines[key] = line
                self.learnt += 1

    def needed(self, entries: Sequence[Descriptor]) -> set[Digest]:
        """As `LayoutImages.needed`, of the same documents: what was read of them before is not read again.

        Raises StorageError for damaged documents.
        """
        found: set[Digest] = set()
        for entry, key in zip(entries, self._recall(entries), strict=True):
            known = self._known(key)
            found.update(needed(self._layout, [entry]) if known is None else known.digests)
        return found

    def line_of(self, entry: Descriptor) -> bytes | None:
        """What is to be remembered of an entry that was just written; None where there is nothing.

        Waits for the next tick of the clock: before it, a change of a file would not show in its times.
        """
        for _ in range(_PAUSES):
            _, line, fresh = self._read(entry, _key(entry))
            if not fresh:
                return line
            time.sleep(_PAUSE)
        return None

    def to_remember(self) -> bytes:
        """The lines about the entries that were walked over."""
        return b"".join(self._lines.values())

    def _recall(self, entries: Iterable[Descriptor]) -> list[bytes]:
        """Take in what is remembered of these; their keys."""
        keys = [_key(entry) for entry in entries]
        wanted = set(keys)
        for line in self._remembered:
            key = line[_CHECKED:][:_KEYED]
            if key not in wanted or key in self._lines:
                self.past += 1
            if key in wanted:
                self._lines[key] = line
        return keys

    def _known(self, key: bytes) -> Known | None:
        """What is remembered, if all documents are the files that were read."""
        line = self._lines.get(key, b"")
        if line[:_CHECKED] != _check(line[_CHECKED:]):
            return None
        digests, signatures, images = json.loads(line[_CHECKED + _KEYED :].decode())  # which was written here
        one = self._one
        known = Known([one.setdefault(digest, digest) for digest in digests], signatures, images)
        for digest, signature in zip(known.digests, signatures, strict=False):
            if self._signature(digest) != signature:
                return None
        return known

    def _is_whole(self, known: Known) -> bool:
        """Whether all blobs are here."""
        now, digests = self._now, known.digests
        for image in known.images:
            for number, size in zip(image[6], image[7], strict=True):
                file = now.get(digests[number]) or self._signature(digests[number])
                if size >= 0 and (file is None or file[1] != size):
                    return False
        return True

    def _signature(self, digest: Digest) -> Signature:
        if digest not in self._now:
            try:
                found = os.stat(self._folder + digest.replace(":", "/", 1))  # noqa: PTH116 - 30,000 Paths are dear
            except FileNotFoundError:
                self._now[digest] = None
            except OSError as error:
                raise disk_error(error, f"cannot look for blob {digest} in {self._layout.directory}") from error
            else:
                self._now[digest] = [found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns]
        return self._now[digest]

    def _told(self, entry: Descriptor, known: Known) -> Iterator[ImageSummary]:
        reference, digests, one = reference_of(entry), known.digests, self._one
        for manifest, config, root, platform, created, labels, numbers, sizes, diff_ids in known.images:
            blobs = {
                digests[number]: size if size >= 0 else -1 - size for number, size in zip(numbers, sizes, strict=True)
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
                tuple([one.setdefault(diff_id, diff_id) for diff_id in diff_ids]),
            )

    def _read(self, entry: Descriptor, key: bytes) -> tuple[list[Image], bytes | None, bool]:
        """The images of an entry; the line to remember, None if they are not all that it may lead to one day, or may
        have been written in this moment, which the last says. Raises StorageError.
        """
        began = _clock()
        layout = _ReadOnce(self._layout)
        images = list(LayoutImages(layout).of(entry))
        if LayoutImages(layout).lacks(entry):
            self.lacking.append(reference_of(entry))
            return images, None, False
        try:
            needed, asked = needs(layout, [entry])
            whole = len(images) == len(variants(layout, entry))
        except (NotFoundError, StorageError):  # gone since; damaged, and no image
            return images, None, False
        root = root_of(entry).digest
        if not images or not whole or any(image.root.digest != root for image in images):
            return images, None, False
        if any(len(str(image.config.labels)) > _MOST_LABELS for image in images):
            return images, None, False
        documents = sorted({root, *asked, *(image.config.digest for image in images)})
        signatures = []
        for digest in documents:
            self._now.pop(digest, None)  # as it is after it was read
            file = self._signature(digest)
            if file is not None and max(file[2:]) >= began:
                return images, None, True
            signatures.append(file)
        digests = [*documents, *sorted(needed.difference(documents))]
        numbers = {digest: number for number, digest in enumerate(digests)}
        made = [digests, signatures, [_numbered(image, numbers) for image in images]]
        rest = key + json.dumps(made, separators=(",", ":")).encode() + b"\n"
        return images, _check(rest) + rest, False

    def _platform(self, stated: dict[str, object]) -> Platform:
        key = str(stated)
        if key not in self._platforms:
            self._platforms[key] = from_oci(stated)
        return self._platforms[key]


class _ReadOnce:
    """A layout of which each document is read once, for whoever asks for it within a moment."""

    def __init__(self, layout: Layout) -> None:
        self.where = layout.where
        self.has_blob = layout.has_blob
        self._layout = layout
        self._documents: dict[tuple[Digest, str, int], Document] = {}
        self._raw: dict[Digest, bytes] = {}

    def read_blob(self, digest: Digest, limit: int) -> bytes:
        """As `Layout.read_blob`."""
        if digest not in self._raw:
            self._raw[digest] = self._layout.read_blob(digest, limit)
        return self._raw[digest]

    def read_document(self, descriptor: Descriptor) -> Document:
        """As `Layout.read_document`."""
        key = descriptor.digest, descriptor.media_type, descriptor.size
        if key not in self._documents:
            self._documents[key] = self._layout.read_document(descriptor)
        return self._documents[key]


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
        tuple(image.config.diff_ids),
    )


def _numbered(image: Image, numbers: dict[Digest, int]) -> Numbered:
    blobs = image.manifest.blobs
    return [
        numbers[image.manifest.digest],
        numbers[image.config.digest],
        numbers[image.root.digest],
        to_oci(image.platform),
        image.config.created,
        dict(image.config.labels),
        [numbers[blob.digest] for blob in blobs],
        [-1 - blob.size if blob.urls else blob.size for blob in blobs],
        list(image.config.diff_ids),
    ]


def _clock() -> int:
    """Nanoseconds, by the clock that gives files their times: those of a file that is written later are not earlier."""
    return time.clock_gettime_ns(_COARSE)


def _key(entry: Descriptor) -> bytes:
    """All of an entry that its images depend on, but their name."""
    made, platform = is_made_here(entry), entry.platform
    stated = f" {platform!r}" if platform else ""
    root = root_of(entry)
    moved = f" {root.digest} {root.media_type}" if root.digest != entry.digest else ""
    key = f"{entry.digest} {entry.size} {entry.media_type} {made:d}{stated}{moved}"
    return hashlib.sha256(key.encode()).hexdigest()[:_KEYED].encode()


def _check(rest: bytes) -> bytes:
    return hashlib.sha256(_FORM + rest).hexdigest()[:_CHECKED].encode()
