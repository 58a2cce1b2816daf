"""An object store as a storage."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from polyarch.contract import (
    Digest,
    HasBlobFiles,
    Image,
    LayoutImages,
    StorageError,
    StorageServices,
    VerifiedPlace,
    blob_name,
    index_json,
    marker_json,
)
from polyarch_plugins.storages.objects.place import ObjectPlace
from polyarch_plugins.storages.objects.store import Changed, open_store

_TRIES = 50
"""Of writing index.json, while others write it too. Somebody succeeds each time, so that nobody waits for long."""


class ObjectStorage:
    """Satisfies ImageLoader and ListsImages."""

    def __init__(self, kind: str, services: StorageServices) -> None:
        """Asks for nothing yet. Raises UsageError and HostError."""
        self._store = open_store(kind, services.location, services.options, services.environ)
        self._place = ObjectPlace(self._store)

    def has(self, image: Image) -> bool:
        """True if the name points at this very variant, and at this root."""
        read = self._place.index()
        if read is None:
            return False
        found = LayoutImages(self._layout()).find(read[0].manifests, image.reference)
        wanted = (image.root.digest, image.manifest.digest)
        return any((each.root.digest, each.manifest.digest) == wanted for each in found)

    def lacks(self, image: Image) -> Collection[Digest]:
        """What is not in the store."""
        return [blob.digest for blob in image.manifest.blobs if self._place.size(blob.digest) != blob.size]

    def images(self) -> Iterator[Image]:
        """Every image under every name."""
        read, images = self._place.index(), LayoutImages(self._layout())
        for entry in read[0].manifests if read else ():
            yield from images.of(entry)

    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        """Upload what is not in the store, then let index.json name it."""
        for digest in self.lacks(image):
            self._store.upload(blob_name(digest), blobs.blob_path(digest))
        kept: set[Digest] = set()
        for _ in range(_TRIES):
            read = self._place.index()
            index, version = read or (None, None)
            new = LayoutImages(self._layout()).with_image(index.manifests if index else (), image)
            for digest, raw in new.raw.items():
                if digest not in kept and self._place.size(digest) != len(raw):
                    self._store.write(blob_name(digest), raw)
                kept.add(digest)
            if index is None:
                self._store.write("oci-layout", marker_json())
            data = index_json(index, new.entries, f"{self._store.where}/index.json")
            try:
                self._store.replace("index.json", data, version)
            except Changed:
                continue
            return
        raise StorageError(f"{self._store.where}/index.json was written by others {_TRIES} times in a row", "try again")

    def _layout(self) -> VerifiedPlace:
        return VerifiedPlace(self._place, self._store.where)

    def close(self) -> None:
        """Connections are obstore's own to close."""
