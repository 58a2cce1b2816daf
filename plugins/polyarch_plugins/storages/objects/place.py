"""An image layout in an object store."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

from polyarch.contract import (
    OCI_INDEX,
    Digest,
    HeldImage,
    Index,
    IntegrityError,
    Located,
    NotFoundError,
    blob_name,
    held_images,
    parse_document,
)
from polyarch_plugins.storages.objects.store import Store, Version

MAX_INDEX_SIZE = 32 << 20
MAX_NAMES = 20_000


def locate(kind: str, text: str) -> Located:
    """`BUCKET/PREFIX` or `BUCKET/PREFIX:NAME`: the place ends at the first colon."""
    place, _, wanted = text.partition(":")
    return Located(place, place.strip("/").rpartition("/")[2] or kind, wanted)


class ObjectPlace:
    """Satisfies ImagePlace."""

    def __init__(self, store: Store) -> None:
        self.where = store.where
        self._store = store

    def index(self) -> tuple[Index, Version] | None:
        """index.json as it is now, and which version that is; None where there is no layout yet."""
        try:
            raw, version = self._store.read("index.json", MAX_INDEX_SIZE)
        except NotFoundError as error:
            if error.hint:  # there is not even a bucket
                raise
            return None
        where = f"{self.where}/index.json"
        index = parse_document(raw, OCI_INDEX, where, max_size=MAX_INDEX_SIZE, max_entries=MAX_NAMES)
        if not isinstance(index, Index):
            raise IntegrityError(f"{where} is a manifest, not an index")
        return index, version

    @cached_property
    def images(self) -> tuple[HeldImage, ...]:
        """What the index names, as it was when it was first asked for. Raises NotFoundError."""
        read = self.index()
        if read is None:
            raise NotFoundError(f"there is no image layout in {self.where}")
        return held_images(read[0].manifests)

    def size(self, digest: Digest) -> int | None:
        """Bytes of a blob; None if it is not here."""
        return self._store.size(blob_name(digest))

    def read(self, digest: Digest, limit: int) -> bytes:
        """A blob of at most `limit` bytes, not verified."""
        return self._store.read(blob_name(digest), limit)[0]

    def chunks(self, digest: Digest, offset: int) -> Iterator[bytes | memoryview]:
        """The bytes of a blob from `offset` on, not verified."""
        return self._store.chunks(blob_name(digest), offset)

    def close(self) -> None:
        """Connections are obstore's own to close."""
