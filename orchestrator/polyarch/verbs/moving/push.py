"""Pushing what is at hand: all variants of a name under one index, or some of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import TYPE_CHECKING

from polyarch.contract.registry import TakesImages
from polyarch.contract.storage import Image, ListsImages, ReadsBlobs, Storage
from polyarch.errors import IntegrityError, NotFoundError, StorageError, UsageError
from polyarch.events import Emit, PushFinished, PushStarted, Warned
from polyarch.limits import MAX_NESTING
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import (
    MAX_DOCUMENT_SIZE,
    Document,
    Index,
    Manifest,
    check_document,
    is_attestation,
    parse_document,
)
from polyarch.oci.joined import narrowed
from polyarch.oci.written import write_index
from polyarch.reference import Reference
from polyarch.transfer.outgoing import stored
from polyarch.transfer.send import Push, Sent, is_foreign, send
from polyarch.unpack.limits import Limits
from polyarch.verbs.moving.moved import MovedManifest, PushResult
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

if TYPE_CHECKING:
    from polyarch.verbs.moving.recompressed import Recompressor

MAX_MOUNTS = 3
"""Repositories that a blob is tried to be mounted from."""


@dataclass(frozen=True, slots=True)
class Sending:
    """How images are sent: `max_connections` blobs at once, with so many `retries`; what is looked into is held to
    `limits`.
    """

    max_connections: int
    retries: int
    emit: Emit
    limits: Limits


def push_images(
    storage: Storage,
    images: Sequence[Image],
    target: TakesImages,
    name: Reference,
    sending: Sending,
    *,
    source: str,
    platforms: Sequence[Platform] = (),
    tag_defaulted: bool = False,
    recompressor: Recompressor | None = None,
) -> PushResult:
    """Push the images of one name, those for `platforms` only if there are any, and as `recompressor` makes them.

    The index that they came from goes byte for byte, where all that it lists is here or there already; else an index
    is made of those at hand, which is told. Raises NotFoundError, StorageError, and what `send` raises.
    """
    if not isinstance(storage, ReadsBlobs):
        raise UsageError("the storage cannot be read, so nothing can be pushed from it")
    images = _wanted(images, platforms, source)
    sending.emit(PushStarted(str(name), tag_defaulted))
    if recompressor is not None:
        others = [recompressor.image(image) for image in images]
        if others != images:
            return _push_others(others, images[0].root, target, name, sending, source, recompressor)
    hand = _AtHand(storage, storage)
    root, documents, made = _root(images, hand, lambda digest: target.has(name.with_digest(digest)), bool(platforms))
    if made:
        sending.emit(Warned(new_index_words(source, images[0].root, root, name, "pushed")))
    pushes = [Push(name.with_digest(document.digest), document) for document in documents]
    blobs = send(
        target,
        [*pushes, Push(name, root)],
        stored(storage),
        mounts=_mounts(storage, name),
        max_connections=sending.max_connections,
        retries=sending.retries,
        emit=sending.emit,
    )
    return _result(name, source, root, made, images, blobs, sending)


def _push_others(
    images: Sequence[Image],
    whole: Document,
    target: TakesImages,
    name: Reference,
    sending: Sending,
    source: str,
    recompressor: Recompressor,
) -> PushResult:
    """Push images that were made of those of `whole`, under a new index where that is one."""
    root: Document = images[0].manifest
    if isinstance(whole, Index):
        root = write_index([image.entry for image in images], whole.annotations)
    sending.emit(Warned(recompressor.told(name.familiar, len(images))))
    pushes = [Push(name.with_digest(image.manifest.digest), image.manifest) for image in images]
    blobs = send(
        target,
        [*(pushes if isinstance(root, Index) else []), Push(name, root)],
        recompressor.open_blob,
        mounts=lambda blob: (),
        max_connections=sending.max_connections,
        retries=sending.retries,
        emit=sending.emit,
    )
    return _result(name, source, root, True, images, blobs, sending)


def _result(
    name: Reference,
    source: str,
    root: Document,
    made: bool,
    images: Sequence[Image],
    blobs: tuple[Sent, ...],
    sending: Sending,
) -> PushResult:
    sending.emit(PushFinished(str(name), root.digest, len(root.raw)))
    manifests = tuple(
        MovedManifest(image.manifest.digest, str(image.platform), image.manifest.size) for image in images
    )
    return PushResult(name, source, root, made, manifests, blobs)


def new_index_words(source: str, whole: Document, root: Document, name: Reference, done: str) -> str:
    """Says that a name gets an index of its own, and why."""
    if not isinstance(whole, Index) or not isinstance(root, Index):
        return f"{name.familiar} gets a new index of {source}"
    left = len(whole.manifests) - len(root.manifests)
    attestations = sum(is_attestation(entry) for entry in whole.manifests if entry not in root.manifests)
    some = f" ({attestations} of them attestations)" if attestations else ""
    return (
        f"{left} of the {len(whole.manifests)} entries of {source} are not {done}{some}:"
        f" {name.familiar} gets a new index, {root.digest}"
    )


def _wanted(images: Sequence[Image], platforms: Sequence[Platform], source: str) -> list[Image]:
    chosen = [image for image in images if not platforms or image.platform in platforms]
    missing = [platform for platform in platforms if all(image.platform != platform for image in chosen)]
    if missing:
        there = ", ".join(str(image.platform) for image in images)
        raise NotFoundError(
            f"{source} is not in the storage for {missing[0]} (at hand: {there})",
            f"bring it with: polyarch pull --platform {missing[0]} {source}",
        )
    return list({image.manifest.digest: image for image in chosen}.values())


def _root(
    images: Sequence[Image], hand: _AtHand, there: Callable[[Digest], bool], some: bool
) -> tuple[Document, list[Document], bool]:
    """What the name is to point at, what goes before it, and whether it was made for this."""
    root = images[0].root
    manifests: list[Document] = [image.manifest for image in images]
    own_entries = [image.entry for image in images]
    if any(image.root.digest != root.digest for image in images):
        return write_index(own_entries), manifests, True
    if isinstance(root, Manifest):
        return root, [], False
    known = {entry.digest: hand.tree(entry) for entry in root.manifests}
    own = frozenset(image.manifest.digest for image in images)
    if not some and all(known[digest] or there(digest) for digest in known):
        return root, _each(known.values()), False
    flat = own <= {entry.digest for entry in root.manifests}
    if flat:
        lacking = {entry.digest for entry in root.manifests if is_attestation(entry) and not known[entry.digest]}
        narrow = narrowed(root, own, lacking)
        if narrow.digest == root.digest:
            return root, _each(known.values()), False
        return narrow, _each(known[entry.digest] for entry in narrow.manifests), True
    return write_index(own_entries, root.annotations), manifests, True


def _each(trees: Iterable[Sequence[Document]]) -> list[Document]:
    return list({document.digest: document for tree in trees for document in tree}.values())


class _AtHand:
    """Documents that a storage has whole, with all that they name."""

    def __init__(self, storage: Storage, reads: ReadsBlobs) -> None:
        self._storage = storage
        self._reads = reads

    def tree(self, entry: Descriptor, depth: int = 1) -> list[Document]:
        """The document of an entry, what it names before it; [] where something of it is missing."""
        document = self._document(entry)
        if isinstance(document, Manifest):
            whole = all(is_foreign(blob) or self._storage.has_blob(blob) for blob in document.blobs)
            return [document] if whole else []
        if document is None or depth == MAX_NESTING:
            return []
        below = [self.tree(each, depth + 1) for each in document.manifests]
        return [*_each(below), document] if all(below) else []

    def _document(self, entry: Descriptor) -> Document | None:
        try:
            with self._reads.open_blob(entry.digest) as stream:
                raw = stream.read(MAX_DOCUMENT_SIZE + 1)
        except NotFoundError:
            return None
        try:
            document = parse_document(raw, entry.media_type, entry.digest)
            check_document(document, entry, entry.digest)
        except IntegrityError as error:
            raise StorageError(f"damaged: {error.message}", "remove the image and pull it again") from error
        return document


def _mounts(storage: Storage, name: Reference) -> Callable[[Descriptor], Sequence[str]]:
    """The repositories of the same registry under whose names a blob is at hand: they are likely to have it there."""

    @cache
    def holders() -> dict[Digest, dict[str, None]]:
        found: dict[Digest, dict[str, None]] = {}
        for image in storage.images() if isinstance(storage, ListsImages) else ():
            other = image.reference
            if other.registry == name.registry and other.repository != name.repository and not other.scheme:
                for blob in image.manifest.blobs:
                    found.setdefault(blob.digest, {})[other.repository] = None
        return found

    return lambda blob: list(holders().get(blob.digest, {}))[:MAX_MOUNTS]
