"""Blobs that are made on this machine, into the storage: verified on their way as what is pulled is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import BinaryIO

from polyarch.contract.storage import Storage
from polyarch.errors import IntegrityError
from polyarch.files import disk_error
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import hasher

_CHUNK = 1 << 20


def store_made(storage: Storage, blob: Descriptor, chunks: Iterable[bytes]) -> None:
    """Put a blob into the storage, unless it is there. Raises IntegrityError where the chunks are another one."""
    with storage.write_blob(blob) as writer:
        if writer is None:
            return
        if writer.offset:
            writer.restart()
        whole, size = hasher(blob.digest), 0
        for data in chunks:
            whole.update(data)
            size += len(data)
            writer.write(data)
        if (whole.hexdigest(), size) != (blob.digest.partition(":")[2], blob.size):
            raise IntegrityError(f"a blob that was made here is not {blob.digest}")
        writer.finish()


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """A file from its beginning on. Raises StorageError."""
    try:
        file.seek(0)
        while data := file.read(_CHUNK):
            yield data
    except OSError as error:
        raise disk_error(error, "cannot read what was made") from error
