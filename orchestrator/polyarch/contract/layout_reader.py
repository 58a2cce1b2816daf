"""How the documents of an image layout are read, wherever it is kept."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Protocol

from polyarch.errors import IntegrityError, NotFoundError, StorageError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Document, check_document, parse_document
from polyarch.oci.held import ImagePlace


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
