"""A storage over an ImageLoader: blobs wait in files of polyarch's own until the image is whole, then it is loaded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import BinaryIO, Protocol, runtime_checkable

from polyarch.contract.storage import (
    BlobWriter,
    ForgetsBlobs,
    HasBlobFiles,
    Image,
    ImageLoader,
    LoadsEarly,
    ReadsBlobs,
    RemovesImages,
    Storage,
)
from polyarch.errors import NotFoundError
from polyarch.files import disk_error, open_regular
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.reference import Reference
from polyarch.transfer.early import EarlyLoad


@runtime_checkable
class KeepsBlobs(Storage, ReadsBlobs, HasBlobFiles, RemovesImages, ForgetsBlobs, Protocol):
    """What a storage has to be able to do for blobs to wait in it."""


class StagedStorage:
    """The contract's `Storage`, `ReadsBlobs` and `HasBlobFiles`.

    Blobs come into `staging`; those that `at_hand` (the storage of pulled images) has already are taken from there.
    """

    def __init__(self, loader: ImageLoader, staging: KeepsBlobs, at_hand: KeepsBlobs) -> None:
        self.loader = loader
        self._early: EarlyLoad | None = None
        self._staging = staging
        self._places: Sequence[KeepsBlobs] = (at_hand, staging)

    def has_blob(self, blob: Descriptor) -> bool:
        """True if the blob is in a file, whole; it stays there until the storage is closed."""
        return any(place.has_blob(blob) for place in self._places)

    def write_blob(self, blob: Descriptor) -> AbstractContextManager[BlobWriter | None]:
        """Bring a blob in; None if it is here by now."""
        return self._staging.write_blob(blob)

    def open_blob(self, digest: Digest) -> BinaryIO:
        """A seekable stream of the blob. Raises NotFoundError."""
        path = self.blob_path(digest)
        try:
            return open_regular(path)
        except OSError as error:
            raise disk_error(error, f"cannot read {path}") from error

    def blob_path(self, digest: Digest) -> Path:
        """The file of the blob. Raises NotFoundError."""
        for place in self._places:
            try:
                return place.blob_path(digest)
            except NotFoundError:
                continue
        raise NotFoundError(f"there is no blob {digest} at hand")

    @contextmanager
    def loading(self, image: Image) -> Iterator[Callable[[Descriptor], None] | None]:
        """Within, a loader that can begin early has begun with the image, which `commit` then finishes.

        Yields what has to be told each blob that is here or not needed; None where the loader waits for all of them.
        """
        if not isinstance(self.loader, LoadsEarly):
            yield None
            return
        with EarlyLoad(self.loader, image, self) as self._early:
            try:
                yield self._early.arrived
            finally:
                self._early = None

    def commit(self, image: Image) -> None:
        """Load the image; its blobs go then, those of other images that wait here stay. After a failure all stay."""
        if self._early is not None:
            self._early.finish()
        else:
            self.loader.load(image, self)
        self._staging.forget([blob.digest for blob in image.manifest.blobs])

    def find(self, reference: Reference) -> tuple[Image, ...]:
        """(): engines do not keep all documents of an image; `loader.has` answers for one that is known."""
        return ()

    def close(self) -> None:
        """Close the loader; the storages beneath are closed by those who opened them."""
        self.loader.close()
