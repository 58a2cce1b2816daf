"""All blobs of one image, several at once."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
from typing import Literal

from polyarch.contract.registry import Registry
from polyarch.contract.storage import BlobWriter, Storage
from polyarch.events import BlobDone, BlobStarted, Emit, ignore
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Manifest
from polyarch.reference import Reference
from polyarch.transfer.blob import bring_blob
from polyarch.transfer.order import in_order
from polyarch.transfer.threads import at_once
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class BlobResult:
    """How a blob came into the storage. `fetched` bytes came over the network, `reused` ones were here before."""

    descriptor: Descriptor
    status: Literal["downloaded", "resumed", "exists"]
    fetched: int
    reused: int


def fetch(
    registry: Registry,
    reference: Reference,
    manifest: Manifest,
    storage: Storage,
    *,
    max_connections: int = 4,
    retries: int = 5,
    emit: Emit = ignore,
    arrived: Callable[[Descriptor], None] | None = None,
    wanted: Collection[Digest] | None = None,
    watch: Callable[[Descriptor, BlobWriter], BlobWriter] | None = None,
    read: Callable[[Digest], bytes | None] | None = None,
) -> tuple[BlobResult, ...]:
    """Bring the config and the layers of `manifest` into the storage; one result a blob, the config's first.

    `max_connections` blobs come at once, the config first (`in_order`); `retries` is how often in a row one may
    break off without a new byte. `arrived` is told each blob that is in the storage now, or was before; by any thread.
    Of the blobs only those `wanted` are brought, the others count as being there; None wants all. `watch` may put a
    writer of its own before each blob's. `read` gives what was read of the registry, and verified, before this.
    The first failure, and Ctrl-C, end all transfers; what came of them is kept by the storage.
    Raises IntegrityError, NotFoundError, UnauthorizedError, UnreachableError, StorageError.
    """
    results: dict[str, BlobResult] = {}
    missing = []

    def done(blob: Descriptor, status: Literal["downloaded", "resumed", "exists"], fetched: int) -> BlobResult:
        emit(BlobDone(blob.digest, blob.size, status))
        if arrived is not None:
            arrived(blob)
        return BlobResult(blob, status, fetched, max(blob.size - fetched, 0))

    for blob in manifest.blobs:
        if (wanted is not None and blob.digest not in wanted) or storage.has_blob(blob):
            results[blob.digest] = done(blob, "exists", 0)
        else:
            missing.append(blob)
    at_once_each = max(max_connections // max(sum(bool(blob.annotations) for blob in missing), 1), 1)
    cancelled = threading.Event()

    def bring(blob: Descriptor) -> BlobResult:
        with storage.write_blob(blob) as writer:
            if writer is None:
                return done(blob, "exists", 0)
            if watch is not None:
                writer = watch(blob, writer)
            if read is not None and (data := read(blob.digest)) is not None:
                emit(BlobStarted(blob.digest, blob.size, 0))
                writer.restart()
                writer.write(data)
                writer.finish()
                return done(blob, "downloaded", blob.size)
            came = 0
            if blob.annotations:  # it may have a table of contents, which tells what of it is here
                from polyarch.transfer.reuse import assemble

                how = assemble(registry, reference, blob, writer, storage, at_once_each, retries, emit, cancelled)
                if how.whole:
                    return done(blob, "downloaded", how.fetched)
                came = how.fetched
            fetched = bring_blob(registry, reference, blob, writer, retries=retries, emit=emit, cancelled=cancelled)
        return done(blob, "resumed" if fetched < blob.size else "downloaded", came + fetched)

    for result in at_once(bring, in_order(missing, manifest, max_connections), max_connections, cancelled):
        results[result.descriptor.digest] = result
    return tuple(results[blob.digest] for blob in manifest.blobs)
