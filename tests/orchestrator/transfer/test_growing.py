"""Blobs that are read while they come in: by threads that wait for each other, without a clock."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import BinaryIO, TypeVar

import pytest

from polyarch.contract import BlobWriter, Descriptor, IntegrityError, NotFoundError, StorageError
from polyarch.oci.digest import digest_of
from polyarch.reference import parse_reference
from polyarch.transfer.fetch import fetch
from polyarch.transfer.growing import BlobRestarted, GrowingBlobs, Openers, ReadingEnded
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import (
    Fault,
    MadeImage,
    MemoryRegistry,
    cut_after,
    ignore_offset,
    made_image,
    other_bytes,
    refuse,
)
from support.storages import descriptor_of, write

T = TypeVar("T")
DATA = bytes(range(256)) * 8
HALF = len(DATA) // 2
BLOB = descriptor_of(DATA)
NAME = parse_reference("busybox:1.36")
TIMEOUT = 30


@pytest.fixture
def blobs(storage: OciStorage) -> GrowingBlobs:
    return GrowingBlobs(storage, [BLOB])


def _begun(work: Callable[[], T]) -> Future[T]:
    """What `work` answers, in a thread."""
    future: Future[T] = Future()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future


def _whole(stream: BinaryIO) -> bytes:
    data = b""
    while part := stream.read(1000):
        data += part
    return data


def _read_all(layers: Openers) -> bytes:
    with layers[0]() as stream:
        return _whole(stream)


class _Steps:
    """Reads a blob, and tells when it has so many bytes; only then the writer goes on."""

    def __init__(self, *sizes: int) -> None:
        self.reached = {size: threading.Event() for size in sizes}
        self.calls = 0

    def __call__(self, layers: Openers) -> bytes:
        self.calls += 1
        data = b""
        with layers[0]() as stream:
            while part := stream.read(100):
                data += part
                if len(data) in self.reached:
                    self.reached[len(data)].set()
        return data

    def wait(self, size: int) -> None:
        assert self.reached[size].wait(TIMEOUT), f"nobody reads {size} bytes of what is here"


@pytest.fixture
def writer(storage: OciStorage, blobs: GrowingBlobs) -> Iterator[BlobWriter]:
    """A writer that is watched; whoever reads is ended with it."""
    with blobs, storage.write_blob(BLOB) as writer:
        assert writer is not None
        yield blobs.watch(BLOB, writer)


def test_what_is_here_is_read_while_the_rest_comes(blobs: GrowingBlobs, writer: BlobWriter) -> None:
    steps = _Steps(HALF, len(DATA))
    read = _begun(lambda: blobs.verified([BLOB], steps))
    writer.write(DATA[:HALF])
    steps.wait(HALF)
    writer.write(memoryview(DATA)[HALF:])
    steps.wait(len(DATA))
    assert not read.done()
    writer.finish()
    blobs.arrived(BLOB)
    assert read.result(TIMEOUT) == DATA
    assert steps.calls == 1


def test_a_stream_has_no_end_before_the_blob_is_verified(blobs: GrowingBlobs, writer: BlobWriter) -> None:
    steps = _Steps(len(DATA))
    ends: list[bytes] = []

    def work(layers: Openers) -> None:
        ends.append(steps(layers))

    with blobs:
        read = _begun(lambda: blobs.verified([BLOB], work))
        writer.write(DATA)
        steps.wait(len(DATA))
    with pytest.raises(ReadingEnded):
        read.result(TIMEOUT)
    assert not ends


def test_what_an_earlier_try_left_is_read_before_anything_comes(storage: OciStorage, blobs: GrowingBlobs) -> None:
    with storage.write_blob(BLOB) as writer:
        assert writer is not None
        writer.write(DATA[:HALF])
    steps = _Steps(HALF)
    with blobs, storage.write_blob(BLOB) as writer:
        assert writer is not None
        writer = blobs.watch(BLOB, writer)
        assert b"".join(writer.kept()) == DATA[:HALF]
        read = _begun(lambda: blobs.verified([BLOB], steps))
        steps.wait(HALF)
        assert writer.offset == HALF
        writer.write(DATA[HALF:])
        writer.finish()
        blobs.arrived(BLOB)
        assert read.result(TIMEOUT) == DATA


def test_a_blob_that_begins_again_is_read_again(blobs: GrowingBlobs, writer: BlobWriter) -> None:
    wrong = bytes(HALF)
    steps = _Steps(HALF)
    read = _begun(lambda: blobs.verified([BLOB], steps))
    writer.write(wrong)
    steps.wait(HALF)
    writer.restart()
    assert writer.offset == 0
    writer.write(DATA)
    writer.finish()
    blobs.arrived(BLOB)
    assert read.result(TIMEOUT) == DATA
    assert steps.calls == 2


@pytest.mark.parametrize("raises", [False, True], ids=["answers", "raises"])
def test_what_was_made_of_wrong_bytes_never_counts(blobs: GrowingBlobs, writer: BlobWriter, raises: bool) -> None:
    made: list[bytes] = []
    first = threading.Event()

    def work(layers: Openers) -> bytes:
        with layers[0]() as stream:
            made.append(stream.read(10))
        first.set()
        if raises and len(made) == 1:
            raise IntegrityError("no sound archive")
        return made[-1]

    read = _begun(lambda: blobs.verified([BLOB], work))
    writer.write(bytes(len(DATA)))
    assert first.wait(TIMEOUT)
    writer.restart()
    writer.write(DATA)
    writer.finish()
    blobs.arrived(BLOB)
    assert read.result(TIMEOUT) == DATA[:10]
    assert made == [bytes(10), DATA[:10]]


def test_what_fails_with_the_right_bytes_is_told(storage: OciStorage, blobs: GrowingBlobs) -> None:
    blobs.arrived(write(storage, DATA))

    def work(layers: Openers) -> None:
        _read_all(layers)
        raise IntegrityError("no sound archive")

    with blobs, pytest.raises(IntegrityError, match="no sound archive"):
        blobs.verified([BLOB], work)


def test_a_stream_of_wrong_bytes_says_so(blobs: GrowingBlobs, writer: BlobWriter) -> None:
    caught: list[BaseException] = []

    def work(layers: Openers) -> None:
        try:
            _read_all(layers)
        except StorageError as error:
            caught.append(error)
            raise

    steps = _Steps(HALF)
    began = _begun(lambda: blobs.verified([BLOB], steps))
    writer.write(bytes(HALF))
    steps.wait(HALF)
    read = _begun(lambda: blobs.verified([BLOB], work))
    opened = _begun(lambda: blobs.verified([BLOB], _read_all))
    writer.restart()
    writer.write(DATA)
    writer.finish()
    blobs.arrived(BLOB)
    assert began.result(TIMEOUT) == opened.result(TIMEOUT) == DATA
    read.result(TIMEOUT)
    assert all(isinstance(error, BlobRestarted) for error in caught)


def test_what_is_overwritten_while_it_is_read_is_void(
    blobs: GrowingBlobs, writer: BlobWriter, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[bytes] = []

    def restarts(descriptor: int, size: int, offset: int) -> bytes:
        monkeypatch.undo()
        writer.restart()
        writer.write(DATA)
        writer.finish()
        blobs.arrived(BLOB)
        return os.pread(descriptor, size, offset)

    def work(layers: Openers) -> bytes:
        with layers[0]() as stream:
            read.append(stream.read(10))
        return read[-1]

    writer.write(bytes(HALF))
    monkeypatch.setattr(os, "pread", restarts)
    assert blobs.verified([BLOB], work) == DATA[:10]
    assert len(read) == 1


def test_a_second_writer_voids_what_the_first_one_wrote(storage: OciStorage, blobs: GrowingBlobs) -> None:
    steps = _Steps(HALF)
    with blobs:
        read = _begun(lambda: blobs.verified([BLOB], steps))
        with storage.write_blob(BLOB) as writer:
            assert writer is not None
            blobs.watch(BLOB, writer).write(bytes(HALF))
            steps.wait(HALF)
            writer.restart()  # nobody is told
        with storage.write_blob(BLOB) as writer:
            assert writer is not None
            blobs.watch(BLOB, writer).write(DATA)
            writer.finish()
        blobs.arrived(BLOB)
        assert read.result(TIMEOUT) == DATA


def test_who_needs_the_beginning_alone_is_answered_when_all_is_verified(
    blobs: GrowingBlobs, writer: BlobWriter
) -> None:
    began = threading.Event()

    def work(layers: Openers) -> bytes:
        with layers[0]() as stream:
            data = stream.read(10)
        began.set()
        return data

    read = _begun(lambda: blobs.verified([BLOB], work))
    writer.write(DATA[:HALF])
    assert began.wait(TIMEOUT)
    writer.write(DATA[HALF:])
    writer.finish()
    assert not read.done()
    blobs.arrived(BLOB)
    assert read.result(TIMEOUT) == DATA[:10]


def test_streams_end_with_the_work(blobs: GrowingBlobs, writer: BlobWriter) -> None:
    """One that was opened ahead, for nothing, reads no further."""
    left: list[BinaryIO] = []

    def work(layers: Openers) -> None:
        left.append(layers[0]())

    writer.write(DATA)
    read = _begun(lambda: blobs.verified([BLOB], work))
    writer.finish()
    blobs.arrived(BLOB)
    read.result(TIMEOUT)
    with pytest.raises(ReadingEnded):
        left[0].read(10)
    left[0].close()


@pytest.mark.parametrize("written", [0, HALF], ids=["nothing came", "half of it came"])
def test_who_waits_is_woken_when_all_ends(blobs: GrowingBlobs, writer: BlobWriter, written: int) -> None:
    steps = _Steps(HALF)
    read, waits = _begun(lambda: blobs.verified([BLOB], steps)), _begun(lambda: blobs.wait(BLOB.digest))
    if written:
        writer.write(DATA[:written])
        steps.wait(HALF)
    with blobs:
        pass
    for future in (read, waits):
        with pytest.raises(ReadingEnded):
            future.result(TIMEOUT)


def test_a_storage_without_the_ability_is_read_when_a_blob_is_whole(storage: OciStorage, blobs: GrowingBlobs) -> None:
    with blobs, storage.write_blob(BLOB) as writer:
        assert writer is not None
        plain = _Plain(writer)
        assert blobs.watch(BLOB, plain) is plain
        read = _begun(lambda: blobs.verified([BLOB], _read_all))
        plain.write(DATA)
        plain.finish()
        blobs.arrived(BLOB)
        assert read.result(TIMEOUT) == DATA


def test_a_blob_that_is_not_among_those_to_be_read_is_left_alone(storage: OciStorage) -> None:
    blobs = GrowingBlobs(storage, [])
    with blobs, storage.write_blob(BLOB) as writer:
        assert writer is not None
        assert blobs.watch(BLOB, writer) is writer


def test_what_counts_as_there_and_is_not_is_not_found(blobs: GrowingBlobs) -> None:
    blobs.arrived(BLOB)
    with blobs, pytest.raises(NotFoundError):
        blobs.verified([BLOB], _read_all)


class _Plain:
    """A BlobWriter and no more."""

    def __init__(self, writer: BlobWriter) -> None:
        self._writer = writer
        self.kept, self.write, self.restart, self.finish = writer.kept, writer.write, writer.restart, writer.finish

    @property
    def offset(self) -> int:
        return self._writer.offset


IMAGE = made_image("linux/arm64", DATA)


def _fetched(storage: OciStorage, image: MadeImage, registry: MemoryRegistry) -> bytes:
    """The image's layer, as it was read while it was fetched."""
    layers = image.manifest.layers
    blobs = GrowingBlobs(storage, layers)
    with blobs:
        read = _begun(lambda: blobs.verified(layers, _read_all))
        fetch(registry, NAME, image.manifest, storage, arrived=blobs.arrived, watch=blobs.watch)
        return read.result(TIMEOUT)


@pytest.mark.parametrize(
    "faults",
    [
        (),
        (cut_after(100), cut_after(700)),
        (cut_after(300), ignore_offset),
        (other_bytes,),
        (cut_after(5), other_bytes),
    ],
    ids=["whole", "cut", "from the beginning", "wrong", "cut and wrong"],
)
def test_a_fetch_is_read_however_its_bytes_come(storage: OciStorage, faults: tuple[Fault, ...]) -> None:
    registry = MemoryRegistry([IMAGE])
    registry.fail(digest_of(DATA), *faults)
    assert _fetched(storage, IMAGE, registry) == DATA


@pytest.mark.parametrize("fault", [refuse(NotFoundError("gone")), other_bytes], ids=["refused", "wrong twice"])
def test_the_end_of_a_fetch_ends_its_readers(storage: OciStorage, fault: Fault) -> None:
    registry = MemoryRegistry([IMAGE])
    registry.fail(digest_of(DATA), fault, fault)
    blobs = GrowingBlobs(storage, IMAGE.manifest.layers)
    read = _begun(lambda: blobs.verified(IMAGE.manifest.layers, _read_all))

    def fetched() -> None:
        with blobs:
            fetch(registry, NAME, IMAGE.manifest, storage, arrived=blobs.arrived, watch=blobs.watch)

    with pytest.raises((NotFoundError, IntegrityError)):
        fetched()
    with pytest.raises(ReadingEnded):
        read.result(TIMEOUT)


def test_blobs_are_told_apart(storage: OciStorage) -> None:
    other = bytes(300)
    layers = [BLOB, Descriptor(BLOB.media_type, digest_of(other), len(other))]
    blobs = GrowingBlobs(storage, layers)

    def work(opened: Openers) -> tuple[bytes, bytes]:
        with opened[0]() as one, opened[1]() as two:
            return _whole(one), _whole(two)

    with blobs, storage.write_blob(layers[0]) as first, storage.write_blob(layers[1]) as second:
        assert first is not None
        assert second is not None
        first, second = blobs.watch(layers[0], first), blobs.watch(layers[1], second)
        read = _begun(lambda: blobs.verified(layers, work))
        for writer, data, blob in ((second, other, layers[1]), (first, DATA, layers[0])):
            writer.write(data)
            writer.finish()
            blobs.arrived(blob)
        assert read.result(TIMEOUT) == (DATA, other)
