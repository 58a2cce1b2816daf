"""The OCI image layout: a folder of blobs and an index that names them (OCI image-spec, image-layout.md 1.0.0)."""

from __future__ import annotations

import json
import os
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import BinaryIO

from polyarch.errors import IntegrityError, NotFoundError, StorageError, printable
from polyarch.files import disk_error, make_directory, open_regular, read_bounded, write_in_one_step
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, check_digest, digest_of
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Document, Index, check_document, parse_document
from polyarch.oci.json import list_of, parse_json
from polyarch.oci.media_types import OCI_INDEX

LAYOUT_VERSION = "1.0.0"
"""The only `imageLayoutVersion` that there is."""

MAX_NAMES = 20_000
"""Entries that an index.json may have here. It is a local file, so it may have more than an index from outside."""

MAX_INDEX_JSON_SIZE = 32 << 20
"""Bytes of an index.json that are read."""

_MAX_MARKER_SIZE = 4096


class Layout:
    """The image layout in `directory`, whoever wrote it. Readers need no lock; of writers there is one at a time.

    All methods raise StorageError for a layout that is damaged, of another version, or that the disk refuses.
    """

    def __init__(self, directory: Path, cure: str | None = None) -> None:
        """`cure` is the command that writes a damaged `index.json` or `oci-layout` of it anew, if there is one."""
        self.directory = directory
        self._cure = cure
        self.where = str(directory)
        self._blobs = f"{directory}/blobs"

    @property
    def _index_path(self) -> Path:
        return self.directory / "index.json"

    def exists(self) -> bool:
        """True if there is a layout, of whatever version."""
        try:
            (self.directory / "oci-layout").stat()
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise disk_error(error, f"cannot read {self.directory}") from error
        return True

    def names_something(self) -> bool:
        """Whether there is an index.json that is not empty, or cannot be read: without `oci-layout`, that is lost."""
        try:
            return '"digest"' in self._read_file("index.json", MAX_INDEX_JSON_SIZE).decode("utf-8", "replace")
        except (FileNotFoundError, NotADirectoryError):
            return False
        except OSError as error:
            raise disk_error(error, f"cannot read {self._index_path}") from error

    def create(self, mode: int = 0o755) -> None:
        """Make what is missing of an empty layout; directories get exactly this mode, whatever the umask."""
        try:
            make_directory(self.directory / "blobs", mode)
            if self.exists():  # an index.json that is missing is lost: an empty one would take its place for good
                return
            if not self._index_path.exists():
                self._write("index.json", index_json(None, (), str(self._index_path)))
            self._write("oci-layout", marker_json())  # last: a folder without it is no layout yet
        except OSError as error:
            raise disk_error(error, f"cannot make an image layout in {self.directory}") from error

    def index(self) -> Index:
        """What index.json says."""
        raw, where = self._read_index(), str(self._index_path)
        try:
            document = parse_document(raw, OCI_INDEX, where, max_size=MAX_INDEX_JSON_SIZE, max_entries=MAX_NAMES)
        except IntegrityError as error:
            raise StorageError(f"damaged: {error}", self._cure) from error
        if not isinstance(document, Index):
            raise StorageError(f"{where} is a manifest, not an index", self._cure)
        return document

    def entries(self) -> tuple[Descriptor, ...]:
        """The descriptors in index.json."""
        return self.index().manifests

    def blob_path(self, digest: Digest) -> Path:
        """Where the blob is kept, if it is here. Raises IntegrityError for what is no digest."""
        return Path(self._blob_name(digest))

    def _blob_name(self, digest: Digest) -> str:
        """The same as a text: a hundred thousand Paths are dear."""
        return f"{self._blobs}/{check_digest(digest, 'blob').replace(':', '/', 1)}"

    def has_blob(self, blob: Descriptor) -> bool:
        """True if a file of the blob's name and size is here."""
        try:
            return os.stat(self._blob_name(blob.digest)).st_size == blob.size  # noqa: PTH116
        except FileNotFoundError:
            return False
        except OSError as error:
            raise disk_error(error, f"cannot look for blob {blob.digest} in {self.directory}") from error

    def open_blob(self, digest: Digest) -> BinaryIO:
        """A seekable stream of the blob, not verified. Raises NotFoundError."""
        try:
            return open_regular(self.blob_path(digest))
        except FileNotFoundError as error:
            raise NotFoundError(f"there is no blob {digest} in {self.directory}") from error
        except OSError as error:
            raise disk_error(error, f"cannot read blob {digest} in {self.directory}") from error

    def read_blob(self, digest: Digest, limit: int) -> bytes:
        """A whole blob of at most `limit` bytes, verified. Raises NotFoundError."""
        with self.open_blob(digest) as stream:
            try:
                data = stream.read(limit + 1)
            except OSError as error:
                raise disk_error(error, f"cannot read blob {digest} in {self.directory}") from error
        if len(data) > limit:
            raise StorageError(f"blob {digest} in {self.directory} is larger than the {limit} bytes that it may have")
        if (actual := digest_of(data, digest.partition(":")[0])) != digest:
            raise StorageError(f"blob {digest} in {self.directory} is damaged: its digest is {actual}")
        return data

    def read_document(self, descriptor: Descriptor) -> Document:
        """The manifest or index that a descriptor points at, verified. Raises NotFoundError."""
        raw = self.read_blob(descriptor.digest, MAX_DOCUMENT_SIZE)
        where = f"{descriptor.digest} in {self.directory}"
        try:
            document = parse_document(raw, descriptor.media_type, where)
            check_document(document, descriptor, where)
        except IntegrityError as error:
            raise _damaged(error) from error
        return document

    def write_document(self, raw: bytes, *, sync: bool = True) -> Digest:
        """Keep the bytes of a manifest, index or config as a blob; its digest."""
        digest = digest_of(raw)
        path = self.blob_path(digest)
        try:
            if self.has_blob(Descriptor("", digest, len(raw))) and path.read_bytes() == raw:
                return digest
            self.make_blob_directory(digest)
            self._write(str(path.relative_to(self.directory)), raw, sync=sync)
        except OSError as error:
            raise disk_error(error, f"cannot write blob {digest} into {self.directory}") from error
        return digest

    def make_blob_directory(self, digest: Digest) -> None:
        """Make the folder for digests of this algorithm, with the mode of the one above it. Raises OSError."""
        folder = self.blob_path(digest).parent
        make_directory(folder, folder.parent.stat().st_mode & 0o777)

    def write_index(self, entries: Iterable[Descriptor], *, sync: bool = True) -> None:
        """Let index.json name `entries`, in one step. Those that it has already keep every field they have there."""
        where = str(self._index_path)
        data = index_json(self.index(), entries, where)
        try:
            self._write("index.json", data, sync=sync)
        except OSError as error:
            raise disk_error(error, f"cannot write {where}") from error

    def _read_index(self) -> bytes:
        """The bytes of index.json, once the version has proven right."""
        try:
            marker = parse_json(self._read_file("oci-layout", _MAX_MARKER_SIZE), "oci-layout")
            version = marker.get("imageLayoutVersion")
            if version != LAYOUT_VERSION:
                raise StorageError(
                    f"{self.directory} is an image layout of version {printable(str(version), 40)},"
                    f" known is {LAYOUT_VERSION}",
                    "a newer polyarch may read it",
                )
            return self._read_file("index.json", MAX_INDEX_JSON_SIZE)
        except FileNotFoundError as error:
            what = f"{self.directory} is no OCI image layout: {error.filename} is missing"
            raise StorageError(what, self._cure) from error
        except IntegrityError as error:
            raise StorageError(f"{self.directory} is no OCI image layout: {error}", self._cure) from error
        except OSError as error:
            raise disk_error(error, f"cannot read the image layout {self.directory}") from error

    def _read_file(self, name: str, limit: int) -> bytes:
        """Raises OSError; StorageError for what is no such file at all."""
        try:
            return read_bounded(self.directory / name, limit)
        except StorageError as error:
            raise StorageError(error.message, self._cure) from error

    def _write(self, name: str, data: bytes, *, sync: bool = True) -> None:
        # One name for every new file: there is one writer at a time, and what a killed one left is written over.
        write_in_one_step(self.directory / name, data, self.directory / ".new", sync=sync)


def index_json(index: Index | None, entries: Iterable[Descriptor], where: str) -> bytes:
    """An index.json that names `entries`; those that `index` has already keep every field they have there.

    Raises StorageError where there are too many.
    """
    document: dict[str, object] = {"schemaVersion": 2, "mediaType": OCI_INDEX}
    written: dict[Hashable, object] = {}
    if index is not None:
        document = parse_json(index.raw, where)
        items = list_of(document["manifests"], where)
        written = {_key(entry): item for entry, item in zip(index.manifests, items, strict=True)}
    manifests = [written.get(_key(entry)) or entry.to_json() for entry in entries]
    data = _encoded({**document, "manifests": manifests})
    if len(manifests) > MAX_NAMES or len(data) > MAX_INDEX_JSON_SIZE:
        raise StorageError(
            f"{where} would name more images than it may ({MAX_NAMES})", "remove some with `polyarch image rm`"
        )
    return data


def marker_json() -> bytes:
    """The file `oci-layout` (image-layout.md, "oci-layout file")."""
    return _encoded({"imageLayoutVersion": LAYOUT_VERSION})


def _damaged(error: IntegrityError) -> StorageError:
    return StorageError(f"damaged: {error}", "remove the image and pull it again")


def _encoded(document: object) -> bytes:
    return json.dumps(document, separators=(",", ":")).encode()


def _key(entry: Descriptor) -> Hashable:
    """Two with the same key are the same; of ten thousand, as JSON, it would take longer than all else."""
    named = tuple(sorted(entry.annotations.items()))
    return entry.digest, entry.size, entry.media_type, entry.platform, named, entry.artifact_type, entry.urls
