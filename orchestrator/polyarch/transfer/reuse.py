"""A layer put together from what an earlier one has and the parts that it lacks, which alone travel.

Earlier layers are those of the storage whose tables of contents are known. What comes out is held against the layer's
digest, as every blob; where it is another one, the layer is fetched whole.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Sequence
from dataclasses import field
from itertools import islice
from typing import BinaryIO, Protocol, runtime_checkable

from polyarch.contract.registry import ReadsRanges, Registry
from polyarch.contract.storage import BlobWriter, ListsImages, ReadsBlobs, Storage
from polyarch.errors import IntegrityError, NotFoundError, PolyarchError, StorageError, UnreachableError
from polyarch.events import BlobStarted, Emit, Warned
from polyarch.oci.chunked import STARGZ_FOOTER, Annotated, Span, annotated, read_spans, stargz_tail
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, short
from polyarch.reference import Reference
from polyarch.transfer.blob import Cancelled, Intake
from polyarch.transfer.in_turn import in_turn
from polyarch.transfer.reuse_plan import Plan, places_of, plan
from polyarch_platforms.lazy_dataclass import dataclass

LEAST = 128 << 10
"""Bytes of a layer for which it is tried."""

_MOST_EARLIER = 4
_WORTH = 1 / 20  # of what is missing has to be here, or it is not worth the requests
_PART = 2 << 20  # bytes that are asked for at once, and that wait in memory for their turn
_READ = 1 << 20
_TAIL = 64 << 10  # bytes of an eStargz blob's end that are read for its footer, at most
_TAIL_PART = 1 / 64  # of a blob, at most
_PLANNING = threading.Lock()
"""Tables of contents take memory: of several layers one is looked at after the other."""


@runtime_checkable
class KeepsEarlier(Storage, ReadsBlobs, ListsImages, Protocol):
    """A storage whose layers can be found and read again."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """What came of it: `whole` says that the blob is finished, `fetched` is how many bytes travelled for it."""

    whole: bool
    fetched: int = 0


class _NoParts(Exception):
    """The registry gives no parts of blobs."""


def assemble(
    registry: Registry,
    reference: Reference,
    blob: Descriptor,
    writer: BlobWriter,
    storage: Storage,
    connections: int,
    retries: int,
    emit: Emit,
    cancelled: threading.Event,
) -> Assembled:
    """Bring a layer in as far as that saves bytes. Where it is not whole then, the rest, or all, is to be fetched.

    `writer` may have a beginning of it, and has a beginning afterwards. Raises StorageError (disk full), Cancelled.
    """
    if (found := _found(registry, reference, blob, storage, retries, cancelled)) is None:
        return Assembled(False)
    try:
        if (ready := _ready(found, writer.offset)) is None:
            return Assembled(False, found.ranges.fetched)
        whole = _fill(found, ready, writer, connections, emit)
        return Assembled(whole, found.ranges.fetched)
    except _NoParts:
        pass
    except (IntegrityError, UnreachableError, NotFoundError) as error:
        said = error.message.removeprefix(f"{reference.familiar}: ")
        emit(Warned(f"{reference.familiar}: layer {short(blob.digest)} is fetched as a whole: {said}"))
    return Assembled(False, found.ranges.fetched)


def expected(registry: Registry, reference: Reference, blob: Descriptor, storage: Storage, retries: int) -> int:
    """How many bytes of a layer need not travel: only its table of contents is fetched for that. 0 if nobody knows."""
    found = _found(registry, reference, blob, storage, retries, threading.Event()) if blob.annotations else None
    if found is None:
        return 0
    try:
        ready = _ready(found, 0)
    except (_NoParts, PolyarchError):
        return 0
    return ready.plans[0].reused if ready and _is_worth(ready.plans[0]) else 0


@dataclass(frozen=True, slots=True)
class _Found:
    """A layer, those here that it may have bytes in common with, and how it is asked for parts."""

    layer: Annotated
    storage: KeepsEarlier
    earlier: Sequence[Annotated]
    ranges: _Ranges


@dataclass(frozen=True, slots=True)
class _Ready:
    """`tail`: the last bytes of a blob, which came. The plans for all others, the first one for what is missing."""

    tail: bytes
    plans: Sequence[Plan]


def _found(
    registry: Registry,
    reference: Reference,
    blob: Descriptor,
    storage: Storage,
    retries: int,
    cancelled: threading.Event,
) -> _Found | None:
    layer = annotated(blob) if blob.size >= LEAST else None
    if layer is None or not isinstance(registry, ReadsRanges) or not isinstance(storage, KeepsEarlier):
        return None
    earlier = _earlier(storage, reference, layer)
    return _Found(layer, storage, earlier, _Ranges(registry, reference, blob, retries, cancelled)) if earlier else None


def _ready(found: _Found, begin: int) -> _Ready | None:
    """None where all that could be reused is here. Raises _NoParts, IntegrityError, and what the registry raises."""
    layer = found.layer
    if layer.tail is not None and begin >= layer.tail:
        return None
    start, tail = _tail(layer, found.ranges)
    end = layer.blob.size - len(tail)
    if begin >= end:
        return None
    with _PLANNING:
        spans = read_spans(layer, tail[start - end :], start)
        places = places_of(_known(found.storage, found.earlier))
        plans = [plan(spans, places, end, begin)]
        if not plans[0].sure:
            plans.append(plan(spans, places, end, 0, guess=False))
    return _Ready(tail, plans)


def _is_worth(way: Plan) -> bool:
    return way.reused >= _WORTH * (way.reused + way.travelling)


def _earlier(storage: KeepsEarlier, reference: Reference, layer: Annotated) -> list[Annotated]:
    """Layers of the same form that are here, the likeliest first: of the same repository, and of nearly its size."""
    found: dict[Digest, tuple[bool, int, Annotated]] = {}
    with contextlib.suppress(StorageError):  # another image is damaged: it is told by those who need it
        for image in storage.images():
            other = image.reference.name != reference.name
            for each in image.manifest.layers:
                place = annotated(each) if each.annotations else None
                if place is not None and place.form == layer.form and each.digest != layer.blob.digest:
                    rank = (other, abs(each.size - layer.blob.size), place)
                    found[each.digest] = min(rank, found.get(each.digest, rank), key=lambda rank: rank[:2])
    ranked = sorted(found.values(), key=lambda rank: rank[:2])
    return list(islice((place for _, _, place in ranked if storage.has_blob(place.blob)), _MOST_EARLIER))


def _known(storage: ReadsBlobs, earlier: Sequence[Annotated]) -> list[tuple[Span, ...]]:
    """The spans of each; () for one that is damaged."""
    known: list[tuple[Span, ...]] = []
    for layer in earlier:
        try:
            with storage.open_blob(layer.blob.digest) as stream:
                start = layer.tail
                if start is None:
                    start = stargz_tail(_read(stream, layer.blob.size - STARGZ_FOOTER, STARGZ_FOOTER), layer.blob.size)
                known.append(read_spans(layer, _read(stream, start, layer.blob.size - start), start))
        except (PolyarchError, OSError):
            known.append(())
    return known


def _read(stream: BinaryIO, offset: int, size: int) -> bytes:
    stream.seek(offset)
    return stream.read(size)


def _tail(layer: Annotated, ranges: _Ranges) -> tuple[int, bytes]:
    """Where the new blob's files end, and its last bytes, at least all that stand behind them."""
    size = layer.blob.size
    if layer.tail is not None:
        return layer.tail, ranges.read((layer.tail, size - layer.tail))
    begin = size - max(STARGZ_FOOTER, min(_TAIL, int(size * _TAIL_PART)))
    end = ranges.read((begin, size - begin))
    start = stargz_tail(end[-STARGZ_FOOTER:], size)
    return start, ranges.read((start, begin - start)) + end if start < begin else end


@dataclass(slots=True)
class _Ranges:
    """Parts of a blob, each asked for again where it breaks off. `fetched` counts all that came."""

    registry: ReadsRanges
    reference: Reference
    blob: Descriptor
    retries: int
    cancelled: threading.Event
    fetched: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, part: tuple[int, int]) -> bytes:
        """The bytes of (offset, size). Raises _NoParts, Cancelled, and what the registry raises."""
        offset, size = part
        data = bytearray()
        failures = 0
        while True:
            before = len(data)
            fault = "it ended early"
            try:
                self._stream(offset, size, data)
            except UnreachableError as error:
                fault = error.message
            if len(data) == size:
                return bytes(data)
            failures = 0 if len(data) > before else failures + 1
            if failures > self.retries:
                raise UnreachableError(f"a part of it broke off: {fault}")
            self.cancelled.wait(0.1 * failures)

    def _stream(self, offset: int, size: int, data: bytearray) -> None:
        with self.registry.open_range(self.reference, self.blob, offset + len(data), size - len(data)) as stream:
            if stream is None or stream.offset != offset + len(data):
                raise _NoParts
            for chunk in stream.chunks:
                if self.cancelled.is_set():
                    raise Cancelled
                with self._lock:
                    self.fetched += len(chunk)
                data += chunk
                if len(data) > size:
                    raise IntegrityError("a part of it is longer than it was asked for")


def _fill(found: _Found, ready: _Ready, writer: BlobWriter, connections: int, emit: Emit) -> bool:
    """Write the blob by one plan after the other until it is right; False where none of them saves enough.

    All but the first begin with its first byte. Raises IntegrityError where it does not get right.
    """
    blob = found.layer.blob
    intake: Intake | None = None
    for way in ready.plans:
        if not _is_worth(way):
            break
        if intake is None:
            intake = Intake(blob, writer, emit, found.ranges.cancelled)
            emit(BlobStarted(blob.digest, blob.size, writer.offset))
        else:
            intake.restart()
        try:
            for chunk in _chunks(found, ready.tail, way, connections, writer.offset):
                intake.stop_if_cancelled()
                intake.take(chunk)
        except IntegrityError:
            intake.restart()
            raise
        if intake.digest == blob.digest:
            writer.finish()
            return True
    if intake is None:
        return False
    intake.restart()
    raise IntegrityError("what was put together of layers at hand is not this one")


def _chunks(found: _Found, tail: bytes, way: Plan, connections: int, begin: int) -> Iterator[memoryview]:
    parts = [
        (start, min(_PART, piece.start + piece.size - start))
        for piece in way.pieces
        if piece.source is None
        for start in range(piece.start, piece.start + piece.size, _PART)
    ]
    with contextlib.ExitStack() as opened:
        files = [opened.enter_context(found.storage.open_blob(each.blob.digest)) for each in found.earlier]
        came = in_turn(found.ranges.read, parts, connections)
        opened.callback(came.close)
        for piece in way.pieces:
            if piece.source is None:
                for _ in range(piece.start, piece.start + piece.size, _PART):
                    yield memoryview(next(came))
            else:
                yield from _part_of(files[piece.source], piece.at, piece.size)
    start = found.layer.blob.size - len(tail)
    yield memoryview(tail)[max(begin - start, 0) :]


def _part_of(file: BinaryIO, offset: int, size: int) -> Iterator[memoryview]:
    """Raises IntegrityError where the file does not have it."""
    try:
        file.seek(offset)
        while size:
            data = file.read(min(_READ, size))
            if not data:
                raise IntegrityError("a layer at hand is cut short")
            size -= len(data)
            yield memoryview(data)
    except OSError as error:
        raise IntegrityError(f"a layer at hand cannot be read: {error.strerror}") from error
