"""A folder with an image layout, read only: nothing is locked, and nothing in it is believed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from polyarch.contract import (
    Digest,
    HeldImage,
    IntegrityError,
    Layout,
    NotFoundError,
    StorageError,
    disk_error,
    held_images,
    is_there,
)

_CHUNK = 1 << 18


class LayoutPlace:
    """Satisfies ImagePlace."""

    def __init__(self, place: str) -> None:
        """Read the names in the folder `place`. Raises NotFoundError: no folder; IntegrityError: no image layout."""
        self.where = place
        self._layout = Layout(Path(place))
        if not is_there(Path(place)):
            raise NotFoundError(f"there is no folder {place}")
        if Path(place).is_file():
            raise IntegrityError(
                f"{place} is a file, not a folder", "an archive is oci-archive:FILE or docker-archive:FILE"
            )
        try:
            self.images: tuple[HeldImage, ...] = held_images(self._layout.entries())
        except StorageError as error:
            if "errno" in error.details:  # the disk's fault, not the layout's
                raise
            raise IntegrityError(error.message) from error

    def size(self, digest: Digest) -> int | None:
        """Bytes of a blob; None if it is not here."""
        try:
            return self._layout.blob_path(digest).stat().st_size
        except OSError:
            return None

    def read(self, digest: Digest, limit: int) -> bytes:
        """A blob of at most `limit` bytes, not verified."""
        data = b""
        for chunk in self.chunks(digest, 0):
            data += chunk
            if len(data) > limit:
                raise IntegrityError(f"{self.where}: blob {digest} is larger than the {limit} bytes that it may have")
        return data

    def chunks(self, digest: Digest, offset: int) -> Iterator[bytes]:
        """The bytes of a blob from `offset` on, not verified."""
        with self._layout.open_blob(digest) as stream:
            try:
                stream.seek(offset)
                while data := stream.read(_CHUNK):
                    yield data
            except OSError as error:
                raise disk_error(error, f"cannot read blob {digest} in {self.where}") from error

    def close(self) -> None:
        """Nothing stays open."""
