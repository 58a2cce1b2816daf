"""An OCI image layout inside a tar archive: what skopeo, podman and BuildKit call an `oci-archive`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from polyarch.errors import IntegrityError, NotFoundError
from polyarch.oci.archive_file import ArchiveFile
from polyarch.oci.digest import Digest
from polyarch.oci.document import Index, parse_document
from polyarch.oci.held import HeldImage, blob_name, held_images
from polyarch.oci.json import parse_json
from polyarch.oci.layout import LAYOUT_VERSION, MAX_INDEX_JSON_SIZE, MAX_NAMES
from polyarch.oci.media_types import OCI_INDEX

_MAX_MARKER_SIZE = 4096


class OciArchive:
    """The images in the archive `path`. Satisfies ImagePlace."""

    def __init__(self, path: Path, temporary: Callable[[], Path]) -> None:
        """A compressed archive is decompressed into a file below `temporary()`, which lives until `close`.

        Raises NotFoundError: there is no such file; IntegrityError: no such archive; StorageError: the disk refuses.
        """
        self._file = ArchiveFile(path, temporary)
        self.where = str(path)
        try:
            self.index = layout_index(self._file)
        except NotFoundError as error:
            self.close()
            raise IntegrityError(f"{path} is no OCI image layout in a tar archive: {error}") from error
        except BaseException:
            self.close()
            raise
        self.images: tuple[HeldImage, ...] = held_images(self.index.manifests)

    def size(self, digest: Digest) -> int | None:
        """Bytes of a blob; None if it is not here."""
        member = self._file.members.get(blob_name(digest))
        return member.size if member else None

    def read(self, digest: Digest, limit: int) -> bytes:
        """A blob of at most `limit` bytes, not verified. Raises NotFoundError; IntegrityError if it is larger."""
        return self._file.read(blob_name(digest), limit)

    def chunks(self, digest: Digest, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a blob from `offset` on, not verified. Raises NotFoundError."""
        return self._file.chunks(self._file.member(blob_name(digest)), offset)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def layout_index(file: ArchiveFile) -> Index:
    """What index.json says in an archive. Raises IntegrityError; NotFoundError where there is no layout."""
    marker = parse_json(file.read("oci-layout", _MAX_MARKER_SIZE), f"{file.where}: oci-layout")
    if marker.get("imageLayoutVersion") != LAYOUT_VERSION:
        raise IntegrityError(f"{file.where}: an image layout of another version than {LAYOUT_VERSION}")
    raw, where = file.read("index.json", MAX_INDEX_JSON_SIZE), f"{file.where}: index.json"
    index = parse_document(raw, OCI_INDEX, where, max_size=MAX_INDEX_JSON_SIZE, max_entries=MAX_NAMES)
    if not isinstance(index, Index):
        raise IntegrityError(f"{where} is a manifest, not an index")
    return index
