"""From the entries of an index.json to images at hand, to the blobs that they need, and to entries with one more image.

Storages that are image layouts, on a disk, in an archive or in a bucket, share this; how bytes are kept is theirs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from polyarch.contract.layout_names import Root, is_made_here, new_entry, reference_of, root_of, stored_name
from polyarch.contract.storage import Image
from polyarch.errors import IntegrityError, NotFoundError, StorageError
from polyarch.oci.config import MAX_CONFIG_SIZE, ImageConfig, parse_config
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of, is_digest
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Document, Manifest, check_document, is_attestation, parse_document
from polyarch.oci.held import ImagePlace
from polyarch.oci.media_types import CONFIGS, DOCUMENTS, INDEXES, MANIFESTS, is_layer
from polyarch.reference import Reference
from polyarch_platforms.platform import Platform

_MAX_DEPTH = 4
"""Indexes inside indexes that are followed."""


class LayoutReader(Protocol):
    """The blobs of an image layout. Raises StorageError for what is damaged or cannot be read."""

    @property
    def where(self) -> str:
        """The layout, as a message names it."""

    def has_blob(self, blob: Descriptor) -> bool:
        """True if a blob of this digest and size is here."""

    def read_blob(self, digest: Digest, limit: int) -> bytes:
        """A whole blob of at most `limit` bytes, verified. Raises NotFoundError."""

    def read_document(self, descriptor: Descriptor) -> Document:
        """The manifest or index that a descriptor points at, verified. Raises NotFoundError."""


class VerifiedPlace:
    """Satisfies LayoutReader over a place, if there is one, and `more`: documents that are to be kept there.

    `sizes` are of further blobs that are on their way there.
    """

    def __init__(
        self,
        place: ImagePlace | None,
        where: str,
        more: Iterable[bytes] = (),
        sizes: Mapping[Digest, int] | None = None,
    ) -> None:
        self.where = where
        self._place = place
        self._more = {digest_of(raw): raw for raw in more}
        self._sizes = dict(sizes or {}) | {digest: len(raw) for digest, raw in self._more.items()}

    def has_blob(self, blob: Descriptor) -> bool:
        """True if a blob of this digest and size is here, or is to be."""
        size = self._sizes.get(blob.digest)
        if size is None and self._place is not None:
            size = self._place.size(blob.digest)
        return size == blob.size

    def read_blob(self, digest: Digest, limit: int) -> bytes:
        """A whole blob of at most `limit` bytes, verified. Raises NotFoundError."""
        if digest in self._more:
            return self._more[digest]
        if self._place is None:
            raise NotFoundError(f"there is no blob {digest} in {self.where}")
        try:
            data = self._place.read(digest, limit)
        except IntegrityError as error:
            raise StorageError(f"damaged: {error}", "remove the image and pull it again") from error
        if (actual := digest_of(data, digest.partition(":")[0])) != digest:
            raise StorageError(f"blob {digest} in {self.where} is damaged: its digest is {actual}")
        return data

    def read_document(self, descriptor: Descriptor) -> Document:
        """The manifest or index that a descriptor points at, verified. Raises NotFoundError."""
        where = f"{descriptor.digest} in {self.where}"
        raw = self.read_blob(descriptor.digest, MAX_DOCUMENT_SIZE)
        try:
            document = parse_document(raw, descriptor.media_type, where)
            check_document(document, descriptor, where)
        except IntegrityError as error:
            raise StorageError(f"damaged: {error}", "remove the image and pull it again") from error
        return document


@dataclass(frozen=True, slots=True)
class NewEntries:
    """What an index.json is to name, the documents that have to be kept before, and the entries that went."""

    entries: tuple[Descriptor, ...]
    documents: tuple[bytes, ...]
    replaced: tuple[Descriptor, ...]

    @property
    def raw(self) -> dict[Digest, bytes]:
        """The documents by digest."""
        return {digest_of(document): document for document in self.documents}

    @property
    def unlisted(self) -> frozenset[Digest]:
        """The indexes made here that no entry names any more."""
        used = {entry.digest for entry in self.entries}
        return frozenset(entry.digest for entry in self.replaced if is_made_here(entry)) - used


class LayoutImages:
    """The images of one layout. Entries are the caller's, who has read them under whatever lock there is."""

    def __init__(self, layout: LayoutReader) -> None:
        self._layout = layout

    def find(self, entries: Iterable[Descriptor], reference: Reference) -> tuple[Image, ...]:
        """The images under a name, as the contract's `Storage.find` wants them."""
        wanted = stored_name(reference)
        found = []
        for entry in entries:
            name = reference_of(entry)
            if name == wanted or (reference.digest and not wanted.tag and name.name == wanted.name):
                for image in self.of(entry):
                    exact = name == wanted and (not wanted.tag or not reference.digest)
                    if exact or _has_digest(image, reference.digest):
                        found.append(image)
        return tuple(found)

    def of(self, entry: Descriptor) -> Iterator[Image]:
        """The images that an entry names, those that are whole."""
        try:
            for variant in variants(self._layout, entry):
                if image := load(self._layout, variant):
                    yield image
        except StorageError as error:
            name = reference_of(entry).familiar
            raise StorageError(f"{name}: {error.message}", f"polyarch image rm {name}, then pull it again") from error

    def needed(self, entries: Iterable[Descriptor]) -> set[Digest]:
        """The digest of every blob that the entries need, themselves included."""
        return needed(self._layout, entries)

    def with_image(self, entries: Iterable[Descriptor], image: Image) -> NewEntries:
        """Let the image's name stand for it, and for those of other platforms under it that have the same root."""
        name, root = stored_name(image.reference), Root(image.root.digest, image.root.media_type)
        going, staying = _parted(entries, name)
        manifests = [replace(image.manifest.descriptor, platform=image.platform), *self._others(going, root, image)]
        new = new_entry(name, root, manifests)
        documents = tuple(raw for raw in (image.manifest.raw, image.root.raw, new.index) if raw is not None)
        return NewEntries((*staying, new.entry), documents, going)

    def _others(self, replaced: Iterable[Descriptor], root: Root, new: Image) -> Iterator[Descriptor]:
        for entry in replaced:
            with contextlib.suppress(StorageError):  # a damaged image does not stay
                images = [load(self._layout, one) for one in variants(self._layout, entry) if one.root == root]
                for image in images:
                    if image and image.platform != new.platform and image.manifest.digest != new.manifest.digest:
                        yield replace(image.manifest.descriptor, platform=image.platform)

    def without(
        self, entries: Iterable[Descriptor], reference: Reference, platform: Platform | None = None
    ) -> NewEntries:
        """Take a name away, or one platform of it. Raises NotFoundError."""
        name = stored_name(reference)
        going, staying = _parted(entries, name)
        if not going:
            raise NotFoundError(f"{name.familiar} is not in the storage {self._layout.where}", "see: polyarch image ls")
        if platform is None:
            return NewEntries(staying, (), going)
        images = [image for entry in going for image in self.of(entry)]
        rest = [image for image in images if image.platform != platform]
        if len(rest) == len(images):
            at_hand = ", ".join(str(image.platform) for image in images)
            raise NotFoundError(f"{name.familiar} is not in the storage for {platform} (at hand: {at_hand})")
        if not rest:
            return NewEntries(staying, (), going)
        manifests = [replace(image.manifest.descriptor, platform=image.platform) for image in rest]
        new = new_entry(name, Root(rest[0].root.digest, rest[0].root.media_type), manifests)
        return NewEntries((*staying, new.entry), (new.index,) if new.index is not None else (), going)


def _parted(entries: Iterable[Descriptor], name: Reference) -> tuple[tuple[Descriptor, ...], tuple[Descriptor, ...]]:
    """The entries of this name, and all others."""
    named: dict[bool, list[Descriptor]] = {True: [], False: []}
    for entry in entries:
        named[reference_of(entry) == name].append(entry)
    return tuple(named[True]), tuple(named[False])


def _has_digest(image: Image, digest: Digest) -> bool:
    """True if `digest`, of whatever algorithm, is that of what the name points at, or of the manifest."""
    algorithm = digest.partition(":")[0]
    return any(digest_of(document.raw, algorithm) == digest for document in (image.root, image.manifest))


@dataclass(frozen=True, slots=True)
class Variant:
    """A manifest at hand under a name. The descriptor's platform is None where only the config tells it."""

    reference: Reference
    root: Root
    manifest: Descriptor


def variants(layout: LayoutReader, entry: Descriptor) -> tuple[Variant, ...]:
    """The manifests at hand that an entry of index.json leads to. Raises StorageError for damaged documents."""
    found = {manifest.digest: manifest for manifest in _manifests(layout, entry, _MAX_DEPTH)}
    if is_made_here(entry) and len(found) == 1 and entry.platform:
        found = {digest: replace(manifest, platform=entry.platform) for digest, manifest in found.items()}
    reference, root = reference_of(entry), root_of(entry)
    return tuple(Variant(reference, root, manifest) for manifest in found.values())


def _manifests(layout: LayoutReader, descriptor: Descriptor, depth: int) -> Iterator[Descriptor]:
    if is_attestation(descriptor) or not layout.has_blob(descriptor):
        return
    if descriptor.media_type in MANIFESTS:
        yield descriptor
    elif descriptor.media_type in INDEXES and depth:
        document = layout.read_document(descriptor)
        if not isinstance(document, Manifest):
            for entry in document.manifests:
                yield from _manifests(layout, entry, depth - 1)


def load(layout: LayoutReader, variant: Variant) -> Image | None:
    """The image, if it is whole; None for one that lacks blobs, and for what is no image but an artifact.

    Raises StorageError for damaged documents.
    """
    try:
        manifest = layout.read_document(variant.manifest)
        if not isinstance(manifest, Manifest) or manifest.config.media_type not in CONFIGS:
            return None
        if not all(layout.has_blob(blob) or blob.urls for blob in manifest.blobs):
            return None
        config = _read_config(layout, manifest.config)
    except NotFoundError:
        return None
    root = _read_root(layout, variant.root) or manifest
    return Image(variant.reference, root, manifest, config, variant.manifest.platform or config.platform)


def _read_config(layout: LayoutReader, config: Descriptor) -> ImageConfig:
    where = f"config {config.digest} in {layout.where}"
    try:
        return parse_config(layout.read_blob(config.digest, MAX_CONFIG_SIZE), where)
    except IntegrityError as error:
        raise StorageError(error.message, "remove the image and pull it again") from error


def _read_root(layout: LayoutReader, root: Root) -> Document | None:
    """The document that the name points at in the registry; None if somebody has taken it away."""
    try:
        raw = layout.read_blob(root.digest, MAX_DOCUMENT_SIZE)
    except NotFoundError:
        return None
    try:
        return parse_document(raw, root.media_type, f"{root.digest} in {layout.where}")
    except IntegrityError as error:
        raise StorageError(f"damaged: {error}", "remove the image and pull it again") from error


def needed(layout: LayoutReader, entries: Iterable[Descriptor]) -> set[Digest]:
    """The digest of every blob that the entries need, themselves included.

    What a root names without being at hand as a variant is not needed. Raises StorageError for damaged documents:
    what those need cannot be told.
    """
    found: set[Digest] = set()
    waiting: list[Descriptor] = []
    for entry in entries:
        found.add(root_of(entry).digest)
        waiting.append(entry)
    visited: set[Digest] = set()
    while waiting:
        descriptor = waiting.pop()
        found.add(descriptor.digest)
        if descriptor.digest in visited or not layout.has_blob(descriptor):
            continue
        visited.add(descriptor.digest)
        if descriptor.media_type in DOCUMENTS:
            document = layout.read_document(descriptor)
            if isinstance(document, Manifest):
                found.update(blob.digest for blob in document.blobs)
            else:
                waiting += document.manifests
        elif descriptor.media_type not in CONFIGS and not is_layer(descriptor.media_type):
            found |= _mentioned(layout, descriptor)
    return found


def _mentioned(layout: LayoutReader, descriptor: Descriptor) -> set[Digest]:
    """Every digest in a document of a type that is not known here, if it is JSON: better one blob too many kept."""
    if descriptor.size > MAX_DOCUMENT_SIZE:
        return set()
    digests: set[Digest] = set()
    try:
        waiting: list[object] = [json.loads(layout.read_blob(descriptor.digest, MAX_DOCUMENT_SIZE))]
    except (ValueError, RecursionError, StorageError):
        return digests
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and is_digest(value):
            digests.add(value)
    return digests
