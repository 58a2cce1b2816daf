"""Registries that break a promise about blobs, each for the tests that its `breaks` names."""

from __future__ import annotations

import gzip
import io
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from polyarch.contract import (
    BlobStream,
    Descriptor,
    Document,
    Index,
    Layout,
    Manifest,
    NotFoundError,
    Reference,
    StorageError,
    digest_of,
    is_layer,
)
from polyarch.testing.conformance.registry_blobs import RegistryBlobs
from support.mutants import Mutants
from support.plain_registry import PlainRegistry, registry_fixtures

MUTANTS = Mutants(RegistryBlobs, registry_fixtures, PlainRegistry)
breaks = MUTANTS.breaks


class Hands(PlainRegistry):
    """Hands out something else than the blob."""

    def data(self, blob: Descriptor, data: bytes) -> bytes:
        return data

    @contextmanager
    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> Iterator[BlobStream]:
        with super().open_blob(reference, blob) as stream:
            data = self.data(blob, b"".join(bytes(chunk) for chunk in stream.chunks))
        yield BlobStream(offset, iter((data[offset:],)))


@breaks("test_blobs_are_what_the_manifest_promises")
class PadsBlobs(Hands):
    def data(self, blob: Descriptor, data: bytes) -> bytes:
        return data + bytes(-len(data) % 512)


@breaks("test_layers_are_handed_on_byte_for_byte")
class UnpacksLayers(Hands):
    def data(self, blob: Descriptor, data: bytes) -> bytes:
        return gzip.decompress(data) if is_layer(blob.media_type) else data


@breaks("test_the_config_is_the_one_put_in")
class HandsOutNoConfig(Hands):
    def data(self, blob: Descriptor, data: bytes) -> bytes:
        return data if is_layer(blob.media_type) else b"{}"


@breaks("test_the_config_keeps_its_digest")
class MakesConfigsAnew(PlainRegistry):
    def parsed(self, raw: bytes) -> Document:
        document = super().parsed(raw)
        if isinstance(document, Index):
            return document
        return replace(document, config=replace(document.config, digest=digest_of(document.config.digest.encode())))


@breaks("test_layers_stand_in_the_configs_order")
class TurnsLayersRound(PlainRegistry):
    def parsed(self, raw: bytes) -> Document:
        document = super().parsed(raw)
        return replace(document, layers=document.layers[::-1]) if isinstance(document, Manifest) else document


class Streams(PlainRegistry):
    """Says something else of a stream than is true."""

    def stream(self, offset: int, chunks: Iterator[bytes | memoryview]) -> BlobStream:
        return BlobStream(offset, chunks)

    @contextmanager
    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> Iterator[BlobStream]:
        with super().open_blob(reference, blob, offset) as stream:
            yield self.stream(offset, stream.chunks)


@breaks("test_from_the_first_byte")
class BeginsAtOne(Streams):
    def stream(self, offset: int, chunks: Iterator[bytes | memoryview]) -> BlobStream:
        return BlobStream(offset or 1, chunks)


@breaks("test_from_an_offset", "test_the_config_from_an_offset")
class IgnoresOffsets(PlainRegistry):
    def chunks(self, file: int, offset: int) -> Iterator[bytes | memoryview]:
        return super().chunks(file, 0)


@breaks("test_from_an_offset")
class BeginsOneEarlier(PlainRegistry):
    @contextmanager
    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> Iterator[BlobStream]:
        with super().open_blob(reference, blob, max(offset - 1, 0)) as stream:
            yield BlobStream(offset, stream.chunks)


@breaks("test_from_the_end")
class PadsBehindTheEnd(PlainRegistry):
    def chunks(self, file: int, offset: int) -> Iterator[bytes | memoryview]:
        if offset >= os.fstat(file).st_size:
            yield b"\0"
        yield from super().chunks(file, offset)


@breaks("test_from_the_end")
class CountsFromTheEnd(PlainRegistry):
    def chunks(self, file: int, offset: int) -> Iterator[bytes | memoryview]:
        size = os.fstat(file).st_size
        return super().chunks(file, min(offset, size - 1))


@breaks("test_a_missing_blob")
class HandsOutNothing(PlainRegistry):
    @contextmanager
    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> Iterator[BlobStream]:
        try:
            with super().open_blob(reference, blob, offset) as stream:
                yield stream
        except NotFoundError:
            yield BlobStream(0, iter(()))


@breaks("test_a_blob_of_a_missing_repository")
class BlamesTheStorage(PlainRegistry):
    def layout(self, reference: Reference) -> Layout:
        try:
            return super().layout(reference)
        except NotFoundError as error:
            raise StorageError(str(error)) from error


@breaks("test_a_stream_can_be_left_early")
class WantsStreamsToBeRead(PlainRegistry):
    busy = False

    def chunks(self, file: int, offset: int) -> Iterator[bytes | memoryview]:
        if self.busy:
            raise StorageError("the last stream was not read to its end")
        self.busy = True
        for piece in super().chunks(file, offset):
            for start in range(0, len(piece), 64):
                yield piece[start : start + 64]
        self.busy = False


@breaks("test_what_is_raised_within_comes_out")
class SwallowsFailures(PlainRegistry):
    @contextmanager
    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> Iterator[BlobStream]:
        with suppress(ZeroDivisionError):
            with super().open_blob(reference, blob, offset) as stream:
                yield stream


@breaks("test_streams_stand_side_by_side")
class SharesOneBuffer(PlainRegistry):
    buffer = bytearray(1 << 16)

    def chunks(self, file: int, offset: int) -> Iterator[bytes | memoryview]:
        for piece in super().chunks(file, offset):
            self.buffer[: len(piece)] = piece
            yield memoryview(self.buffer)[: len(piece)]


@breaks("test_threads_read_blobs")
class ReadsInOneThread(PlainRegistry):
    def __init__(self) -> None:
        self.owner = threading.get_ident()

    def chunks(self, file: int, offset: int) -> Iterator[bytes | memoryview]:
        if threading.get_ident() != self.owner:
            raise StorageError("made in another thread")
        return super().chunks(file, offset)


@breaks("test_big_blobs_pass_through")
class HandsOutBlobsWhole(PlainRegistry):
    def chunks(self, file: int, offset: int) -> Iterator[bytes | memoryview]:
        yield b"".join(super().chunks(file, offset))


@breaks("test_big_blobs_pass_through")
class HoldsBlobsWhole(PlainRegistry):
    def chunks(self, file: int, offset: int) -> Iterator[bytes | memoryview]:
        whole = io.BytesIO(b"".join(super().chunks(file, offset)))
        return iter(lambda: whole.read(1 << 16), b"")


@breaks("test_a_big_blob_goes_on_where_it_broke_off")
class GoesOnAtABlock(PlainRegistry):
    """As one that reads from a compressed stream, from the beginning of a block."""

    def chunks(self, file: int, offset: int) -> Iterator[bytes | memoryview]:
        return super().chunks(file, offset // 100_000 * 100_000)


@breaks("test_nothing_is_needed_between_questions")
class NeedsTheConfigFirst(PlainRegistry):
    seen = False

    @contextmanager
    def open_blob(self, reference: Reference, blob: Descriptor, offset: int = 0) -> Iterator[BlobStream]:
        if is_layer(blob.media_type) and not self.seen:
            raise NotFoundError("the image was not opened yet")
        self.seen = True
        with super().open_blob(reference, blob, offset) as stream:
            yield stream


globals().update(MUTANTS.classes())
