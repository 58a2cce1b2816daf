"""What is served under one name: from the variants at hand, the document it points at and all that hangs on it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol, runtime_checkable

from polyarch.contract.storage import HasBlobFiles, Image, ListsImages, Storage
from polyarch.errors import IntegrityError, NotFoundError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Document, Index, Manifest, check_document, parse_document
from polyarch.oci.media_types import DOCUMENTS, OCI_INDEX
from polyarch_platforms.lazy_dataclass import dataclass

MAX_NESTING = 4
"""How deep indexes may stand within indexes."""


@runtime_checkable
class Servable(Storage, ListsImages, HasBlobFiles, Protocol):
    """A storage that can be offered as a registry."""


@dataclass(frozen=True, slots=True)
class Offer:
    """One name: the document it points at, every document that can be asked for by digest, and the blobs."""

    document: Document
    documents: tuple[Document, ...]
    blobs: frozenset[Digest]

    def by_digest(self, digest: Digest) -> Document | None:
        """The document of that digest, sha256 or sha512."""
        algorithm = digest.partition(":")[0]
        return next((each for each in self.documents if digest_of(each.raw, algorithm) == digest), None)

    @property
    def digests(self) -> Iterator[Digest]:
        """Each digest by which a document may be asked for: its own, and those that indexes name it by."""
        for document in self.documents:
            yield document.digest
            if isinstance(document, Index):
                yield from (entry.digest for entry in document.manifests)


def offer_of(images: Sequence[Image], storage: Servable) -> Offer:
    """What the name of `images`, all of one reference and at least one, is served as.

    - A plain manifest, if that is what the name points at.
    - The index that the name points at, if all it names is here, attestations too: whoever copies the whole index can.
    - Else an index made of the variants at hand; the same variants give the same bytes. The original index can still
      be asked for by its digest, and from it the variants that are here.
    """
    roots = tuple({image.root.digest: image.root for image in images}.values())
    manifests = {image.manifest.digest: image.manifest for image in images}
    documents: dict[Digest, Document] = {root.digest: root for root in roots} | dict(manifests)
    chosen: Document | None = roots[0] if len(roots) == 1 else None
    if isinstance(chosen, Index):
        below = _all_below(chosen, manifests, storage)
        if below is None:
            chosen = None
        else:
            documents |= {document.digest: document for document in below}
    if chosen is None:
        chosen = generated_index(images)
        documents[chosen.digest] = chosen
    return Offer(
        document=chosen,
        documents=tuple(documents.values()),
        blobs=frozenset(
            blob.digest for document in documents.values() if isinstance(document, Manifest) for blob in document.blobs
        ),
    )


def generated_index(images: Sequence[Image]) -> Index:
    """An index over the variants at hand, in the order of the name's own index, else by platform and digest."""
    order: dict[Digest, int] = {}
    for image in images:
        if isinstance(image.root, Index):
            for entry in image.root.manifests:
                order.setdefault(entry.digest, len(order))
    variants = {image.manifest.digest: image for image in images}.values()
    ordered = sorted(
        variants,
        key=lambda image: (
            order.get(image.manifest.digest, len(order)),
            str(image.platform),
            image.manifest.digest,
        ),
    )
    entries = [
        Descriptor(
            image.manifest.media_type, image.manifest.digest, len(image.manifest.raw), platform=image.platform
        ).to_json()
        for image in ordered
    ]
    raw = json.dumps(
        {"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries},
        ensure_ascii=False,
        separators=(",", ":"),
        sort_keys=True,
    ).encode()
    index = parse_document(raw, OCI_INDEX, "the generated index")
    assert isinstance(index, Index)
    return index


def _all_below(index: Index, manifests: Mapping[Digest, Manifest], storage: Servable) -> list[Document] | None:
    """Every document that `index` names, directly or through further indexes; None if anything is not here."""
    found: dict[Digest, Document] = {}
    algorithms = {"sha256", "sha512"}

    def walk(current: Index, depth: int) -> bool:
        for entry in current.manifests:
            if entry.digest in known or entry.digest in found:
                continue
            document = _stored_document(entry, storage) if depth <= MAX_NESTING else None
            if document is None:
                return False
            found[entry.digest] = document
            if isinstance(document, Index):
                if not walk(document, depth + 1):
                    return False
            elif not all(_is_here(blob, storage) for blob in document.blobs):
                return False
        return True

    known = {digest_of(manifest.raw, algorithm) for manifest in manifests.values() for algorithm in algorithms}
    return list(found.values()) if walk(index, 1) else None


def _stored_document(entry: Descriptor, storage: Servable) -> Document | None:
    """The manifest or index of an index entry, where the storage has it as a blob and it is what was promised."""
    if entry.media_type not in DOCUMENTS or entry.size > MAX_DOCUMENT_SIZE or not _is_here(entry, storage):
        return None
    try:
        document = parse_document(storage.blob_path(entry.digest).read_bytes(), entry.media_type, entry.digest)
        check_document(document, entry, entry.digest)
    except (IntegrityError, NotFoundError, OSError):
        return None
    return document


def _is_here(blob: Descriptor, storage: Servable) -> bool:
    """True if the blob's file is here. `has_blob` is not asked: a storage may take it for the start of a pull."""
    try:
        return storage.blob_path(blob.digest).stat().st_size == blob.size
    except (NotFoundError, OSError):
        return False
