"""All blobs of one image, several at once."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Literal

from polyarch.contract.registry import Registry
from polyarch.contract.storage import Storage
from polyarch.events import BlobDone, Emit, ignore
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Manifest
from polyarch.reference import Reference
from polyarch.transfer.blob import Cancelled, bring_blob

_GRACE = 0.5
"""Seconds that the other transfers get to stop after one failed; a read from a silent network may take longer."""


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
) -> tuple[BlobResult, ...]:
    """Bring the config and the layers of `manifest` into the storage; one result a blob, the config's first.

    `max_connections` blobs come at once: the config, then the largest first; `retries` is how often in a row one may
    break off without a new byte. `arrived` is told each blob that is in the storage now, or was before; by any thread.
    Of the blobs only those `wanted` are brought, the others count as being there; None wants all.
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
    missing.sort(key=lambda blob: (blob.digest != manifest.config.digest, -blob.size))
    cancelled = threading.Event()

    def bring(blob: Descriptor) -> BlobResult:
        with storage.write_blob(blob) as writer:
            if writer is None:
                return done(blob, "exists", 0)
            fetched = bring_blob(registry, reference, blob, writer, retries=retries, emit=emit, cancelled=cancelled)
        return done(blob, "resumed" if fetched < blob.size else "downloaded", fetched)

    for result in _at_once(bring, missing, max_connections, cancelled):
        results[result.descriptor.digest] = result
    return tuple(results[blob.digest] for blob in manifest.blobs)


def _at_once(
    bring: Callable[[Descriptor], BlobResult],
    blobs: Sequence[Descriptor],
    most: int,
    cancelled: threading.Event,
) -> list[BlobResult]:
    """`bring` for each of the blobs, in at most `most` threads. Raises what the first one to fail raised."""
    waiting = deque(blobs)
    outcomes: SimpleQueue[BlobResult | BaseException] = SimpleQueue()

    def work() -> None:
        try:
            while not cancelled.is_set():
                try:
                    blob = waiting.popleft()
                except IndexError:
                    return
                outcomes.put(bring(blob))
        except Cancelled:
            return
        except BaseException as error:
            outcomes.put(error)

    # Daemons: one that hears nothing from the network must not hold back the end of the process.
    threads = [threading.Thread(target=work, name=f"transfer-{i}", daemon=True) for i in range(min(most, len(blobs)))]
    results: list[BlobResult] = []
    try:
        for thread in threads:
            thread.start()
        while len(results) < len(blobs):
            outcome = outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            results.append(outcome)
    finally:
        cancelled.set()
        deadline = time.monotonic() + _GRACE
        for thread in threads:
            if thread.is_alive():
                thread.join(max(deadline - time.monotonic(), 0))
    return results
