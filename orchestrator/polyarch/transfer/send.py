"""Images to a registry: all blobs first, several at once, then the documents, the name last."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Literal

from polyarch.contract.registry import TakesImages
from polyarch.errors import IntegrityError
from polyarch.events import BlobPushed, BlobRetried, BlobStarted, Emit
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.document import Document, Manifest
from polyarch.reference import Reference
from polyarch.transfer.outgoing import OpenBlob, Outgoing
from polyarch.transfer.threads import at_once
from polyarch_platforms.lazy_dataclass import dataclass

PushStatus = Literal["uploaded", "exists", "mounted"]

# Layers that are got from their `urls`, not from a registry (image-spec layer.md, "Non-Distributable Layers").
_FOREIGN = (
    "application/vnd.oci.image.layer.nondistributable.",
    "application/vnd.docker.image.rootfs.foreign.",
)


@dataclass(frozen=True, slots=True)
class Sent:
    """What became of a blob: `sent` bytes of it were uploaded, those too that went twice."""

    descriptor: Descriptor
    status: PushStatus
    sent: int = 0


@dataclass(frozen=True, slots=True)
class Push:
    """A document, and the reference that is to point at it: a tag, or its own digest."""

    reference: Reference
    document: Document


def is_foreign(blob: Descriptor) -> bool:
    """True for a layer that is kept elsewhere: no registry has to have it, and none is given it."""
    return bool(blob.urls) or blob.media_type.startswith(_FOREIGN)


def certain(blob: Descriptor) -> bool:
    """For a source that has each blob once: False."""
    return False


def blobs_of(documents: Sequence[Document]) -> tuple[Descriptor, ...]:
    """The blobs that a registry needs for these documents, each once."""
    manifests = [document for document in documents if isinstance(document, Manifest)]
    blobs = {blob.digest: blob for manifest in manifests for blob in manifest.blobs if not is_foreign(blob)}
    return tuple(blobs.values())


def send(
    target: TakesImages,
    pushes: Sequence[Push],
    source: OpenBlob,
    *,
    mounts: Callable[[Descriptor], Sequence[str]],
    max_connections: int,
    retries: int,
    emit: Emit,
    doubt: Callable[[Descriptor], bool] = certain,
) -> tuple[Sent, ...]:
    """Bring the documents, and the blobs that they need, to a registry; one result a blob.

    The documents go in their order, when all blobs are there: what others name comes before them, what gives the name
    last. `mounts` are the repositories of the same registry that may have a blob, the likeliest first. `doubt` is told
    of a blob whose bytes were wrong, and says whether the source has it from elsewhere, too (`HasMirrors`). The first
    failure, and Ctrl-C, end it, and leave no name. Raises IntegrityError, NotFoundError, UnauthorizedError,
    UnreachableError, StorageError.
    """
    reference = pushes[-1].reference
    cancelled = threading.Event()

    def bring(blob: Descriptor) -> Sent:
        if target.has_blob(reference, blob):
            return done(blob, "exists")
        for repository in mounts(blob):
            if target.mount_blob(reference, blob, repository):
                return done(blob, "mounted", source=repository)
        emit(BlobStarted(blob.digest, blob.size, 0))
        outgoing = Outgoing(blob, source, retries=retries, emit=emit, cancelled=cancelled)
        while True:
            try:
                target.put_blob(reference, blob, outgoing.open_at)
            except IntegrityError as error:
                if not doubt(blob):
                    raise
                emit(BlobRetried(blob.digest, 0, error.message))
                continue
            return done(blob, "uploaded", outgoing.sent)

    def done(blob: Descriptor, status: PushStatus, sent: int = 0, source: str = "") -> Sent:
        emit(BlobPushed(blob.digest, blob.size, status, source))
        return Sent(blob, status, sent)

    blobs = blobs_of([push.document for push in pushes])
    largest_first = sorted(blobs, key=lambda blob: -blob.size)
    # One goes alone: so it is told once, and before much has been sent, that nobody is there or may come in.
    results = [bring(largest_first.pop())] if largest_first else []
    results += at_once(bring, largest_first, max_connections, cancelled)
    sent = {each.descriptor.digest: each for each in results}
    for push in pushes:
        target.put(push.reference, push.document)
    return tuple(sent[blob.digest] for blob in blobs)
