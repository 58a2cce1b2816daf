"""The bytes of a blob on their way to a registry: hashed as they go, and the last of them only if all are right."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TypeAlias

from polyarch.contract.registry import BlobStream
from polyarch.contract.storage import ReadsBlobs
from polyarch.errors import IntegrityError, UnreachableError
from polyarch.events import BlobProgress, BlobRetried, Emit
from polyarch.files import disk_error
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import hasher
from polyarch.transfer.blob import Cancelled

OpenBlob: TypeAlias = Callable[[Descriptor, int], AbstractContextManager[BlobStream]]
"""Opens the bytes of a blob from an offset on."""

READ_SIZE = 1 << 20
"""Bytes read from a file at once."""

_FIRST_PAUSE = 0.1
_LONGEST_PAUSE = 5.0
_PROGRESS_EVENTS = 256  # at most so many a blob, and none for less than 64 KiB
_LEAST_PROGRESS = 1 << 16


def stored(storage: ReadsBlobs) -> OpenBlob:
    """Opens what a storage has."""

    @contextmanager
    def open_blob(blob: Descriptor, offset: int) -> Iterator[BlobStream]:
        with storage.open_blob(blob.digest) as file:

            def chunks() -> Iterator[bytes]:
                try:
                    file.seek(offset)
                    while data := file.read(READ_SIZE):
                        yield data
                except OSError as error:
                    raise disk_error(error, f"cannot read blob {blob.digest}") from error

            yield BlobStream(offset, chunks())

    return open_blob


class Outgoing:
    """One blob. Its digest is that of the bytes as they went; of a part that went again after a break, the first time.

    `sent` is how many bytes were given out, those that went again too.
    """

    def __init__(
        self, blob: Descriptor, source: OpenBlob, *, retries: int, emit: Emit, cancelled: threading.Event
    ) -> None:
        """A source that breaks off is opened again from there; `retries` times in a row without a new byte."""
        self.sent = 0
        self._blob = blob
        self._source = source
        self._retries = retries
        self._emit = emit
        self._cancelled = cancelled
        self._hash = hasher(blob.digest)
        self._hashed = 0
        self._told = 0

    @contextmanager
    def open_at(self, offset: int) -> Iterator[BlobStream]:
        """The bytes from `offset` on, which lies within what went before or at its end.

        The iterator raises IntegrityError in place of the last bytes if the whole is not what was promised,
        UnreachableError for an offset beyond what was given out, and what reading from the source raises.
        """
        yield BlobStream(offset, self._chunks(offset))

    def _chunks(self, position: int) -> Iterator[bytes | memoryview]:
        self._told = position
        if position == 0:
            self._hash, self._hashed = hasher(self._blob.digest), 0
        if position > self._hashed:
            raise UnreachableError(
                f"blob {self._blob.digest}: {position} bytes are said to have come, and {self._hashed} were sent",
                "what the registry says of its uploads is wrong: tell its operator",
            )
        if self._blob.size == 0:
            self._check()
        failures = 0
        while position < self._blob.size:
            before = position
            fault = "the stream ended early"
            try:
                with self._source(self._blob, position) as stream:
                    known = position - stream.offset
                    for chunk in stream.chunks:
                        fresh = memoryview(chunk)[known:] if known else chunk
                        known = max(known - len(chunk), 0)
                        if not fresh:
                            continue
                        self._take(position, fresh)
                        position += len(fresh)
                        yield fresh
                        if position == self._blob.size:
                            return
            except UnreachableError as error:
                fault = error.message
            if self._cancelled.is_set():  # the connection was closed for that
                raise Cancelled
            failures = 0 if position > before else failures + 1
            if failures > self._retries:
                raise UnreachableError(
                    f"blob {self._blob.digest} broke off at {position} of {self._blob.size} bytes: {fault}"
                )
            self._emit(BlobRetried(self._blob.digest, position, fault))
            if failures:
                self._cancelled.wait(min(_FIRST_PAUSE * 2**failures, _LONGEST_PAUSE) * random.uniform(0.5, 1))

    def _take(self, position: int, chunk: bytes | memoryview) -> None:
        """Count and hash what goes next. Raises Cancelled, IntegrityError."""
        if self._cancelled.is_set():
            raise Cancelled
        end = position + len(chunk)
        if end > self._blob.size:
            raise IntegrityError(f"blob {self._blob.digest} has more than the {self._blob.size} bytes promised")
        if end > self._hashed:
            self._hash.update(memoryview(chunk)[self._hashed - position :])
            self._hashed = end
        if end == self._blob.size:
            self._check()
        self.sent += len(chunk)
        if end - self._told >= max(_LEAST_PROGRESS, self._blob.size // _PROGRESS_EVENTS):
            self._told = end
            self._emit(BlobProgress(self._blob.digest, self._blob.size, end))

    def _check(self) -> None:
        actual = f"{self._blob.digest.partition(':')[0]}:{self._hash.hexdigest()}"
        if actual != self._blob.digest:
            raise IntegrityError(
                f"blob {self._blob.digest} was promised, {actual} came: its upload was not finished",
                "what it is read from is damaged: see polyarch verify for an image at hand",
                digest=self._blob.digest,
                actual=actual,
            )
