"""The image that a container was made from: read by its digest, so that it counts no more what it is called today."""

from __future__ import annotations

from polyarch.container.record import Record
from polyarch.contract.storage import ReadsBlobs
from polyarch.errors import IntegrityError, NotFoundError
from polyarch.oci.digest import Digest
from polyarch.oci.document import MAX_DOCUMENT_SIZE, Manifest, parse_document

SCRATCH = "scratch"
"""The name of no image: an empty stack of layers. No registry has it."""


def base_manifest(storage: ReadsBlobs, record: Record) -> Manifest:
    """The manifest of the image that a container was made from. Raises NotFoundError, IntegrityError."""
    try:
        document = parse_document(read_blob(storage, record.manifest, MAX_DOCUMENT_SIZE), "", record.image)
    except NotFoundError:
        raise gone(record) from None
    if not isinstance(document, Manifest) or document.digest != record.manifest:
        raise IntegrityError(f"the manifest of {record.image} is damaged", f"see: polyarch verify {record.image}")
    return document


def read_blob(storage: ReadsBlobs, digest: Digest, limit: int) -> bytes:
    """A small blob. Raises NotFoundError, IntegrityError, StorageError."""
    with storage.open_blob(digest) as stream:
        data = stream.read(limit + 1)
    if len(data) > limit:
        raise IntegrityError(f"the blob {digest} is larger than {limit} bytes")
    return data


def gone(record: Record) -> NotFoundError:
    """The error where a part of it is not in the storage any more."""
    return NotFoundError(
        f"the image {record.image} that the container {record.name} was made from is no longer whole in the storage",
        f"bring it back: polyarch pull {record.image.partition('@')[0].rpartition(':')[0]}@{record.manifest}",
    )
