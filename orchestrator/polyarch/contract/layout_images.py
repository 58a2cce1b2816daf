"""From the entries of an index.json to images at hand, to the blobs that they need, and to entries with one more image.

Storages that are image layouts, on a disk, in an archive or in a bucket, share this; how bytes are kept is theirs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace

from polyarch.contract.layout_names import (
    Root,
    has_no_name,
    is_made_here,
    new_entry,
    reference_of,
    root_of,
    stored_name,
)
from polyarch.contract.layout_reader import LayoutReader
from polyarch.contract.storage import Image
from polyarch.errors import IntegrityError, NotFoundError, StorageError
from polyarch.files import is_fault
from polyarch.oci.config import MAX_CONFIG_SIZE, ImageConfig, parse_config
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of, is_digest
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Document, Manifest, is_attestation, parse_document
from polyarch.oci.media_types import CONFIGS, DOCUMENTS, INDEXES, MANIFESTS, is_layer
from polyarch.reference import Reference
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

_MAX_DEPTH = 4
"""Indexes inside indexes that are followed."""


@dataclass(frozen=True, slots=True)
class NewEntries:
    """What an index.json is to name, the documents that have to be kept before, and the entries that went.

    A new entry is the last one, before `with_unnamed`.
    """

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
            hint = error.hint if is_fault(error) else f"polyarch image rm {name}, then pull it again"
            raise StorageError(f"{name}: {error.message}", hint, **error.details) from error

    def lacking(self, entries: Iterable[Descriptor], reference: Reference) -> bool:
        """Whether one of the entries of this name `lacks` something."""
        name = stored_name(reference)
        return any(reference_of(entry) == name and self.lacks(entry) for entry in entries)

    def lacks(self, entry: Descriptor) -> bool:
        """Whether parts are gone of the images that an entry names: they are not whole, and no images at hand.

        An index that was not made here may name more than was ever here; of that something has to be whole.
        Raises StorageError for damaged documents.
        """
        if is_attestation(entry) or entry.media_type not in DOCUMENTS:
            return False
        try:
            if not self._layout.has_blob(entry):
                return True
            lacking = [_lacks_parts(self._layout, variant) for variant in variants(self._layout, entry)]
            if entry.media_type in MANIFESTS:
                return any(lacking)
            document = self._layout.read_document(entry)
            listed = () if isinstance(document, Manifest) else document.manifests
            if is_made_here(entry):
                return any(lacking) or any(not self._layout.has_blob(each) for each in listed)
            return bool(listed) and all(lacking)
        except NotFoundError:  # somebody removed it since
            return True

    def needed(self, entries: Iterable[Descriptor]) -> set[Digest]:
        """The digest of every blob that the entries need, themselves included."""
        return needed(self._layout, entries)

    def with_image(self, entries: Iterable[Descriptor], image: Image) -> NewEntries:
        """Let the image's name stand for it, and for those of other platforms under it that have the same root."""
        name, root = stored_name(image.reference), Root(image.root.digest, image.root.media_type)
        going, staying = _parted(entries, name)
        manifests = [image.entry, *self._others(going, root, image)]
        new = new_entry(name, root, manifests)
        documents = tuple(raw for raw in (image.manifest.raw, image.root.raw, new.index) if raw is not None)
        return NewEntries((*staying, new.entry), documents, going)

    def _others(self, replaced: Iterable[Descriptor], root: Root, new: Image) -> Iterator[Descriptor]:
        for entry in replaced:
            with _damage_passed_over():  # a damaged image does not stay
                images = [load(self._layout, one) for one in variants(self._layout, entry) if one.root == root]
                for image in images:
                    if image and image.platform != new.platform and image.manifest.digest != new.manifest.digest:
                        yield image.entry

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
        manifests = [image.entry for image in rest]
        new = new_entry(name, Root(rest[0].root.digest, rest[0].root.media_type), manifests)
        return NewEntries((*staying, new.entry), (new.index,) if new.index is not None else (), going)

    def with_unnamed(self, new: NewEntries) -> NewEntries:
        """The same, but images that lost their name stay without one, and those that got one have it alone.

        The documents of `new` have to be here by now; those of the answer are further ones. What is no whole image, or
        damaged, does not stay without a name.
        """
        unnamed = [entry for entry in new.entries if has_no_name(entry)]
        if not new.replaced and not unnamed:
            return replace(new, documents=())
        staying = [entry for entry in new.entries if not has_no_name(entry)]
        covered = {variant.manifest.digest for entry in staying for variant in self._variants(entry)}
        documents: list[bytes] = []
        gone: list[Descriptor] = []
        for entry in (*unnamed, *new.replaced):
            images = self._whole(entry)
            lost = [image for image in images if image.manifest.digest not in covered]
            covered.update(image.manifest.digest for image in lost)
            if entry in unnamed and len(lost) == len(images):
                staying.append(entry)  # also what is no image, which is not ours to judge
                continue
            gone.append(entry)
            for image in lost:  # each by itself: one of them may be needed when the others are not
                root = Root(image.root.digest, image.root.media_type)
                made = new_entry(None, root, [image.entry])
                staying.append(made.entry)
                documents += [made.index] if made.index is not None else []
        return NewEntries(tuple(staying), tuple(documents), tuple(gone))

    def _variants(self, entry: Descriptor) -> tuple[Variant, ...]:
        with _damage_passed_over():
            return variants(self._layout, entry)
        return ()

    def _whole(self, entry: Descriptor) -> list[Image]:
        with _damage_passed_over():
            return list(self.of(entry))
        return []

    def without_these(self, entries: Iterable[Descriptor], images: Iterable[Image]) -> tuple[Descriptor, ...]:
        """The entries that stay where `images` go: those of other names, and names that lead to more than to these."""
        going: dict[Reference, set[Digest]] = {}
        for image in images:
            going.setdefault(image.reference, set()).add(image.manifest.digest)

        def goes(entry: Descriptor) -> bool:
            known = going.get(reference_of(entry))
            return known is not None and {image.manifest.digest for image in self.of(entry)} <= known

        return tuple(entry for entry in entries if not goes(entry))


@contextlib.contextmanager
def _damage_passed_over() -> Iterator[None]:
    """Goes on after what is damaged. A disk that cannot be read now says nothing of what is on it: that is raised."""
    try:
        yield
    except StorageError as error:
        if is_fault(error):
            raise


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
        try:
            document = layout.read_document(descriptor)
        except NotFoundError:  # somebody removed it since
            return
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


def _lacks_parts(layout: LayoutReader, variant: Variant) -> bool:
    manifest = layout.read_document(variant.manifest)
    if not isinstance(manifest, Manifest) or manifest.config.media_type not in CONFIGS:
        return False
    return not all(layout.has_blob(blob) or blob.urls for blob in manifest.blobs)


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
    return needs(layout, entries)[0]


def needs(layout: LayoutReader, entries: Iterable[Descriptor]) -> tuple[set[Digest], set[Digest]]:
    """As `needed`; and the documents among them that tell it, here or not: it stays so as long as those do."""
    found: set[Digest] = set()
    waiting: list[Descriptor] = []
    for entry in entries:
        found.add(root_of(entry).digest)
        waiting.append(entry)
    asked: set[Digest] = set()
    visited: set[Digest] = set()
    while waiting:
        descriptor = waiting.pop()
        found.add(descriptor.digest)
        asked.add(descriptor.digest)
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
    return found, asked


def _mentioned(layout: LayoutReader, descriptor: Descriptor) -> set[Digest]:
    """Every digest in a document of a type that is not known here, if it is JSON: better one blob too many kept."""
    if descriptor.size > MAX_DOCUMENT_SIZE:
        return set()
    digests: set[Digest] = set()
    waiting: list[object] = []
    with contextlib.suppress(ValueError, RecursionError), _damage_passed_over():
        waiting.append(json.loads(layout.read_blob(descriptor.digest, MAX_DOCUMENT_SIZE)))
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
        elif isinstance(value, str) and is_digest(value):
            digests.add(value)
    return digests
