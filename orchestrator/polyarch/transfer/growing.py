"""Blobs that are read while they still come in, by those who can wait with their answer until the bytes were verified.

`GrowingBlobs` stands between a transfer, which tells it of each byte (`watch`, `arrived`), and readers in other threads
(`verified`). What is read has no digest yet, so it decides nothing: an answer made of it counts only when the blob was
found to be what it was promised as; where it comes again from its first byte, the answer is made anew.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from types import TracebackType
from typing import BinaryIO, Self, TypeAlias, TypeVar, cast

from polyarch.contract.storage import BlobWriter, ReadsBack, ReadsBlobs
from polyarch.errors import StorageError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest

T = TypeVar("T")
Openers: TypeAlias = Sequence[Callable[[], BinaryIO]]
"""Open one blob each, from its first byte, as often as they are called. They wait until there is something of it."""


class BlobRestarted(StorageError):
    """What was read of a blob is void: it comes again from its first byte."""

    def __init__(self) -> None:
        super().__init__("a blob that was read while it came begins again")


class ReadingEnded(StorageError):
    """Nobody waits any more for what is made of the blobs: they cannot be read further."""

    def __init__(self) -> None:
        super().__init__("the reading of blobs was ended")


class GrowingBlobs:
    """Some blobs of an image that is being fetched into `storage`, which is used from any thread.

    A storage whose writers do not satisfy `ReadsBack` makes each blob readable when it is whole.
    """

    def __init__(self, storage: ReadsBlobs, blobs: Sequence[Descriptor]) -> None:
        """`blobs` are those that may be read."""
        self.storage = storage
        self.changed = threading.Condition()
        self.closed = False
        self._readable = frozenset(blob.digest for blob in blobs)
        self._growths: dict[Digest, _Growth] = {}

    def watch(self, blob: Descriptor, writer: BlobWriter) -> BlobWriter:
        """A writer for `writer`'s place, by which the blob can be read while it is written. Raises StorageError."""
        if blob.digest not in self._readable or not isinstance(writer, ReadsBack):
            return writer
        opened = writer.open_written()
        with self.changed:
            growth = self.growth(blob.digest)
            growth.begin(opened, writer.offset)
            self.changed.notify_all()
        return _Watched(writer, growth, self.changed)

    def arrived(self, blob: Descriptor) -> None:
        """Tell that a blob is in the storage, whole and verified."""
        with self.changed:
            self.growth(blob.digest).whole = True
            self.changed.notify_all()

    def wait(self, digest: Digest) -> None:
        """Until a blob, whichever, has arrived. Raises ReadingEnded."""
        with self.changed:
            self.changed.wait_for(lambda: self.closed or self.growth(digest).whole)
            if self.closed:
                raise ReadingEnded

    def verified(self, blobs: Sequence[Descriptor], work: Callable[[Openers], T]) -> T:
        """What `work` makes of the blobs, of which those that it opened were verified then, and were what it read.

        It is given one opener a blob, may use them in threads, and is called again where a blob had to come again; what
        it raises counts as little before its blobs are verified as what it returns. When it is done, or BlobRestarted
        is raised by a stream, the streams end; all raise ReadingEnded then. Raises what `work` raises, ReadingEnded.
        """
        while True:
            reading = _Reading(self)
            fault: Exception | None = None
            try:
                made = work([partial(reading.open, blob.digest) for blob in blobs])
            except Exception as error:
                fault = error
            if not reading.holds():
                continue
            if fault is not None:
                raise fault
            return made

    def growth(self, digest: Digest) -> _Growth:
        """How far a blob is; to be looked at with `changed` held."""
        return self._growths.setdefault(digest, _Growth())

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all reading and waiting; it fails with ReadingEnded."""
        with self.changed:
            self.closed = True
            for growth in self._growths.values():
                growth.close()
            self.changed.notify_all()


class _Growth:
    """How far one blob is: `here` of its bytes stand in `file`, after `restarts` from the first one."""

    def __init__(self) -> None:
        self.here = self.restarts = 0
        self.whole = False
        self.file: BinaryIO | None = None

    def begin(self, file: BinaryIO, here: int) -> None:
        """By a writer, whose bytes come to stand in `file`."""
        if self.file is not None:  # another writer before this one
            self.restarts += 1
            self.close()
        self.file, self.here = file, here

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


class _Watched:
    """A writer that tells how far it is."""

    def __init__(self, writer: BlobWriter, growth: _Growth, changed: threading.Condition) -> None:
        self._writer, self._growth, self._changed = writer, growth, changed

    @property
    def offset(self) -> int:
        return self._writer.offset

    def kept(self) -> Iterator[bytes]:
        return self._writer.kept()

    def write(self, data: bytes | memoryview) -> None:
        self._writer.write(data)
        with self._changed:
            self._growth.here = self._writer.offset
            self._changed.notify_all()

    def restart(self) -> None:
        with self._changed:  # first, so that no reader takes for old bytes what comes now
            self._growth.restarts += 1
            self._growth.here = 0
            self._changed.notify_all()
        self._writer.restart()

    def finish(self) -> None:
        self._writer.finish()


class _Reading:
    """One try: what was opened in it, and whether that is still what it was."""

    def __init__(self, blobs: GrowingBlobs) -> None:
        self._blobs = blobs
        self._opened: dict[Digest, int] = {}
        self._over = False

    def open(self, digest: Digest) -> BinaryIO:
        """Raises ReadingEnded, and NotFoundError where the storage does not have what counts as being there."""
        with self._blobs.changed:
            growth = self._blobs.growth(digest)
            self._blobs.changed.wait_for(lambda: self._ended or growth.whole or growth.here)
            self.go_on()
            restarts = self._opened.setdefault(digest, growth.restarts)
            if not growth.whole:
                assert growth.file is not None
                return cast("BinaryIO", _Growing(self, growth, os.dup(growth.file.fileno()), restarts))
        return cast("BinaryIO", _Whole(self, self._blobs.storage.open_blob(digest)))

    @property
    def _ended(self) -> bool:
        return self._over or self._blobs.closed

    def go_on(self) -> None:
        """Raises ReadingEnded."""
        if self._ended:
            raise ReadingEnded

    def more(self, growth: _Growth, position: int, restarts: int) -> int:
        """How many bytes can be read at `position`, once there are any; 0 at the end of a blob that was verified."""

        def told() -> bool:
            return self._ended or growth.restarts != restarts or growth.here > position or growth.whole

        with self._blobs.changed:
            self._blobs.changed.wait_for(told)
            self.check(growth, restarts)
            return growth.here - position

    def check(self, growth: _Growth, restarts: int) -> None:
        """Raises ReadingEnded, BlobRestarted."""
        self.go_on()
        if growth.restarts != restarts:
            raise BlobRestarted

    def holds(self) -> bool:
        """End all streams, and wait until what they read is verified; False where it is void. Raises ReadingEnded."""
        blobs = self._blobs
        with blobs.changed:
            self._over = True
            blobs.changed.notify_all()
            opened = [(blobs.growth(digest), restarts) for digest, restarts in self._opened.items()]

            def void() -> bool:
                return any(growth.restarts != restarts for growth, restarts in opened)

            blobs.changed.wait_for(lambda: blobs.closed or void() or all(growth.whole for growth, _ in opened))
            if blobs.closed:
                raise ReadingEnded
            return not void()


class _Growing:
    """A blob's bytes in a file that grows. At its end it waits until the blob was verified."""

    def __init__(self, reading: _Reading, growth: _Growth, descriptor: int, restarts: int) -> None:
        self._reading, self._growth, self._restarts = reading, growth, restarts
        self._file = open(descriptor, "rb", buffering=0)  # noqa: SIM115  # closed with this
        self._position = 0

    def read(self, size: int) -> bytes:
        """Raises ReadingEnded, BlobRestarted, OSError."""
        here = self._reading.more(self._growth, self._position, self._restarts)
        data = os.pread(self._file.fileno(), min(size, here), self._position)
        self._reading.check(self._growth, self._restarts)
        self._position += len(data)
        return data

    def close(self) -> None:
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Whole:
    """A whole blob, which can be read until the reading is over."""

    def __init__(self, reading: _Reading, stream: BinaryIO) -> None:
        self._reading, self._stream = reading, stream

    def read(self, size: int) -> bytes:
        """Raises ReadingEnded, and what reading raises."""
        self._reading.go_on()
        return self._stream.read(size)

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
