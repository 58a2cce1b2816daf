"""One blob from a registry into a storage's writer: hashed as it comes, resumed where it broke off."""

from __future__ import annotations

import random
import threading
from dataclasses import field
from typing import TYPE_CHECKING

from polyarch.contract.registry import Registry
from polyarch.contract.storage import BlobWriter
from polyarch.errors import IntegrityError, NotFoundError, UnreachableError
from polyarch.events import BlobProgress, BlobRetried, BlobStarted, Emit
from polyarch.limits import LEAST_PROGRESS
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import hasher
from polyarch.reference import Reference
from polyarch.registry.several import HasMirrors
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from hashlib import _Hash

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
# A server that hands out a few bytes a connection makes progress for ever; this many breaks a megabyte end it.
_MOST_BREAKS = 100
_BREAKS_PER_MEGABYTE = 16
# At most this many progress events a blob, and none for less than 64 KiB.
_PROGRESS_EVENTS = 256
_LEAST_PROGRESS = 1 << 16


class Cancelled(Exception):
    """Another blob failed, or the user interrupted; the bytes that came are kept."""


@dataclass(slots=True)
class Intake:
    """Takes a blob's bytes in: into the writer and the hash, never more of them than promised."""

    blob: Descriptor
    writer: BlobWriter
    emit: Emit
    cancelled: threading.Event
    fetched: int = 0
    _hash: _Hash = field(init=False)
    _told: int = field(init=False, default=0)

    def __post_init__(self) -> None:
        """Read again what an earlier try has left, so that the hash goes on from there."""
        self._hash = hasher(self.blob.digest)
        if self.writer.offset > self.blob.size:
            self.writer.restart()
        for chunk in self.writer.kept():
            self.stop_if_cancelled()
            self._hash.update(chunk)
        self._told = self.writer.offset

    @property
    def is_full(self) -> bool:
        """True if all bytes are here, right or wrong."""
        return self.writer.offset == self.blob.size

    @property
    def digest(self) -> str:
        """The digest of what is here."""
        return f"{self.blob.digest.partition(':')[0]}:{self._hash.hexdigest()}"

    def take(self, chunk: memoryview) -> bool:
        """Keep the next bytes; False if there are more than promised, of which none beyond is kept."""
        fits = chunk[: self.blob.size - self.writer.offset]
        self.writer.write(fits)
        self._hash.update(fits)
        received = self.writer.offset
        if received - self._told >= max(_LEAST_PROGRESS, self.blob.size // _PROGRESS_EVENTS):
            self._told = received
            self.emit(BlobProgress(self.blob.digest, self.blob.size, received))
        return len(fits) == len(chunk)

    def restart(self) -> None:
        """Throw away what is here."""
        self.writer.restart()
        self._hash = hasher(self.blob.digest)
        self._told = 0

    def stop_if_cancelled(self) -> None:
        """Raises Cancelled."""
        if self.cancelled.is_set():
            raise Cancelled


def bring_blob(
    registry: Registry,
    reference: Reference,
    blob: Descriptor,
    writer: BlobWriter,
    *,
    retries: int,
    emit: Emit,
    cancelled: threading.Event,
) -> int:
    """Fetch what `writer` lacks of the blob, and finish it. Returns the bytes that came over the network.

    A stream that breaks is resumed; after `retries` breaks in a row, each with fewer than LEAST_PROGRESS new bytes, the
    last fault is raised.
    A wrong digest is tried once more from the first byte, and without the mirrors that served it.
    Raises IntegrityError, NotFoundError, UnauthorizedError, UnreachableError, StorageError, Cancelled.
    """
    intake = Intake(blob, writer, emit, cancelled)
    emit(BlobStarted(blob.digest, blob.size, writer.offset))
    _fill(registry, reference, intake, retries)
    retried = False
    while intake.digest != blob.digest:
        # A mirror's wrong bytes do not use up the registry's second try.
        if not (isinstance(registry, HasMirrors) and registry.doubt(blob)):
            if retried:
                break
            retried = True
        emit(BlobRetried(blob.digest, 0, f"{intake.digest} came"))
        intake.restart()
        _fill(registry, reference, intake, retries)
    if (actual := intake.digest) != blob.digest:
        intake.restart()
        raise IntegrityError(
            f"{reference.familiar}: blob {blob.digest} was promised, {actual} came",
            "try again; if it stays so, the registry or something on the way to it is damaged",
            digest=blob.digest,
            actual=actual,
        )
    writer.finish()
    return intake.fetched


def _fill(registry: Registry, reference: Reference, intake: Intake, retries: int) -> None:
    """Stream until all bytes are here."""
    blob, writer = intake.blob, intake.writer
    breaks = failures = 0
    most_breaks = _MOST_BREAKS + _BREAKS_PER_MEGABYTE * (blob.size >> 20)
    while not intake.is_full:
        intake.stop_if_cancelled()
        before = writer.offset
        fault = _stream(registry, reference, intake)
        if intake.is_full:
            return
        intake.stop_if_cancelled()  # whoever cancels closes the connection: that is no fault to be told
        breaks += 1
        failures = 0 if writer.offset - before >= LEAST_PROGRESS else failures + 1
        if failures > retries or breaks > most_breaks:
            raise UnreachableError(
                f"{reference.familiar}: blob {blob.digest} broke off at {writer.offset} of {blob.size} bytes: {fault}",
                "try again: what came is kept",
                digest=blob.digest,
            )
        intake.emit(BlobRetried(blob.digest, writer.offset, fault))
        if failures:
            pause = min(_FIRST_PAUSE * 2**failures, _LONGEST_PAUSE)
            intake.cancelled.wait(pause * random.uniform(0.5, 1))


def _stream(registry: Registry, reference: Reference, intake: Intake) -> str:
    """One request for the bytes that are missing; what broke it, in words, where it broke."""
    blob, offset = intake.blob, intake.writer.offset
    opened = False
    try:
        with registry.open_blob(reference, blob, offset) as stream:
            opened = True
            known = offset - stream.offset  # bytes that come once more, from a server without ranges
            if known < 0:
                return f"the server sent bytes from {stream.offset} on, not from {offset}"
            for chunk in stream.chunks:
                intake.stop_if_cancelled()
                intake.fetched += len(chunk)
                fresh = memoryview(chunk)[known:]
                known = max(known - len(chunk), 0)
                if fresh and not intake.take(fresh):
                    intake.restart()
                    raise IntegrityError(
                        f"{reference.familiar}: blob {blob.digest} has more than the {blob.size} bytes promised",
                        digest=blob.digest,
                    )
    except UnreachableError as error:
        if not opened:  # the registry's client has tried again by itself
            raise
        return error.message
    except NotFoundError as error:
        if not blob.urls:
            raise
        raise NotFoundError(
            f"{reference.familiar}: layer {blob.digest} is a foreign one, which its registry does not hold",
            "its publisher keeps it elsewhere; with the setting foreign_layers it is fetched from there",
        ) from error
    return "the stream ended early"
