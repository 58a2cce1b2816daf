"""Transfers from a registry in memory that fails as it is told, into the storage `oci`."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from polyarch.contract import BlobStream, Descriptor, NotFoundError, StorageError, UnreachableError
from polyarch.errors import IntegrityError
from polyarch.events import BlobDone, BlobProgress, BlobRetried, BlobStarted, Event
from polyarch.oci.digest import digest_of
from polyarch.reference import parse_reference
from polyarch.transfer.fetch import BlobResult, fetch
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import (
    CHUNK,
    Chunks,
    Fault,
    MadeImage,
    MemoryRegistry,
    chunks_of,
    cut_after,
    end_after,
    honest,
    ignore_offset,
    made_image,
    more_bytes,
    other_bytes,
    refuse,
)
from support.storages import blobs_in, partials_in

NAME = parse_reference("busybox:1.36")
BIG = bytes(range(256)) * 40
SMALL = b"small layer"
IMAGE = made_image("linux/arm64", SMALL, BIG)
B = digest_of(BIG)
CONFIG = IMAGE.manifest.config.digest


@pytest.fixture
def registry() -> MemoryRegistry:
    return MemoryRegistry([IMAGE])


def _fetch(
    registry: MemoryRegistry, storage: OciStorage, image: MadeImage = IMAGE, **options: int
) -> tuple[dict[str, BlobResult], list[Event]]:
    events: list[Event] = []
    results = fetch(registry, NAME, image.manifest, storage, emit=events.append, **options)  # type: ignore[arg-type]
    return {result.descriptor.digest: result for result in results}, events


def _leave(storage: OciStorage, data: bytes, kept: bytes) -> None:
    """What a broken try has left of a blob."""
    blob = next(blob for blob in IMAGE.manifest.blobs if blob.digest == digest_of(data))
    with storage.write_blob(blob) as writer:
        assert writer is not None
        writer.write(kept)


def test_all_blobs_come(registry: MemoryRegistry, storage: OciStorage) -> None:
    results = fetch(registry, NAME, IMAGE.manifest, storage)
    assert [(result.status, result.fetched, result.reused) for result in results] == [
        ("downloaded", len(IMAGE.blobs[CONFIG]), 0),
        ("downloaded", len(SMALL), 0),
        ("downloaded", len(BIG), 0),
    ]
    assert [result.descriptor for result in results] == list(IMAGE.manifest.blobs)
    assert blobs_in(storage.directory) == set(IMAGE.blobs)
    storage.commit(IMAGE.stored_as("busybox:1.36"))


def test_the_config_comes_first_and_then_the_upper_layers(registry: MemoryRegistry, storage: OciStorage) -> None:
    _fetch(registry, storage, max_connections=1)
    assert registry.requests == [(CONFIG, 0), (B, 0), (digest_of(SMALL), 0)]
    assert registry.most_at_once == 1


def test_what_is_here_is_not_asked_for(registry: MemoryRegistry, storage: OciStorage) -> None:
    _fetch(registry, storage)
    registry.requests.clear()
    results, events = _fetch(registry, storage)
    assert registry.requests == []
    assert {(result.status, result.fetched) for result in results.values()} == {("exists", 0)}
    assert results[B].reused == len(BIG)
    assert all(isinstance(event, BlobDone) and event.status == "exists" for event in events)


def test_each_blob_is_told_once_it_is_there(registry: MemoryRegistry, storage: OciStorage) -> None:
    for _ in range(2):  # the second time all are there before
        told: list[str] = []

        def arrived(blob: Descriptor, told: list[str] = told) -> None:
            assert storage.has_blob(blob)
            told.append(blob.digest)

        fetch(registry, NAME, IMAGE.manifest, storage, arrived=arrived)
        assert sorted(told) == sorted(IMAGE.blobs)


def test_only_what_lacks_is_fetched(registry: MemoryRegistry, storage: OciStorage) -> None:
    _fetch(registry, storage)
    other = made_image("linux/arm64", b"another", BIG)
    registry.images = [other]
    registry.requests.clear()
    results, _ = _fetch(registry, storage, other)
    assert results[B].status == "exists"
    assert {digest for digest, _ in registry.requests} == {other.manifest.config.digest, digest_of(b"another")}


def test_a_layer_that_stands_there_twice_comes_once(storage: OciStorage) -> None:
    image = made_image("linux/arm64", BIG, SMALL, BIG)
    registry = MemoryRegistry([image])
    results, _ = _fetch(registry, storage, image)
    assert len(results) == 3
    assert len(registry.requests) == 3


def test_an_empty_blob_needs_no_request(storage: OciStorage) -> None:
    image = made_image("linux/arm64", b"")
    registry = MemoryRegistry([image])
    results, _ = _fetch(registry, storage, image)
    assert (results[digest_of(b"")].status, results[digest_of(b"")].fetched) == ("downloaded", 0)
    assert [digest for digest, _ in registry.requests] == [image.manifest.config.digest]
    assert blobs_in(storage.directory) == set(image.blobs)


@pytest.mark.parametrize("size", [1, CHUNK, 4321, len(BIG) - 1])
@pytest.mark.parametrize("broken", [cut_after, end_after])
def test_a_broken_stream_is_resumed(registry: MemoryRegistry, storage: OciStorage, size: int, broken: object) -> None:
    registry.fail(B, broken(size))  # type: ignore[operator]
    results, events = _fetch(registry, storage)
    assert [request for request in registry.requests if request[0] == B] == [(B, 0), (B, size)]
    assert results[B].fetched == len(BIG)
    (retried,) = [event for event in events if isinstance(event, BlobRetried)]
    assert (retried.digest, retried.offset) == (B, size)
    assert blobs_in(storage.directory) == set(IMAGE.blobs)


def test_an_earlier_try_is_resumed(registry: MemoryRegistry, storage: OciStorage) -> None:
    _leave(storage, BIG, BIG[:7000])
    results, events = _fetch(registry, storage)
    assert (B, 7000) in registry.requests
    assert results[B] == BlobResult(IMAGE.manifest.layers[1], "resumed", len(BIG) - 7000, 7000)
    assert BlobStarted(B, len(BIG), 7000) in events
    assert BlobDone(B, len(BIG), "resumed") in events


def test_an_earlier_try_that_was_whole_needs_no_request(registry: MemoryRegistry, storage: OciStorage) -> None:
    _leave(storage, BIG, BIG)
    results, _ = _fetch(registry, storage)
    assert B not in [digest for digest, _ in registry.requests]
    assert (results[B].status, results[B].fetched, results[B].reused) == ("resumed", 0, len(BIG))


@pytest.mark.parametrize("kept", [b"wrong" * 100, BIG + b"too much", BIG[:-1] + b"?"])
def test_a_bad_earlier_try_is_thrown_away(registry: MemoryRegistry, storage: OciStorage, kept: bytes) -> None:
    _leave(storage, BIG, kept)
    results, _ = _fetch(registry, storage)
    assert registry.requests.count((B, 0)) == 1
    assert results[B].status == "downloaded"
    assert blobs_in(storage.directory) == set(IMAGE.blobs)


@pytest.mark.parametrize("start", [0, 3000])
def test_a_server_without_ranges_sends_all_again(registry: MemoryRegistry, storage: OciStorage, start: int) -> None:
    """What is known is passed over, not written again; what travelled is counted."""

    def from_between(data: bytes, offset: int) -> BlobStream:
        return BlobStream(start, chunks_of(data[start:]))

    registry.fail(B, cut_after(5500), from_between if start else ignore_offset)
    results, _ = _fetch(registry, storage)
    assert results[B].fetched == 5500 + len(BIG) - start
    assert results[B].status == "downloaded"
    assert blobs_in(storage.directory) == set(IMAGE.blobs)


def test_progress_is_what_resets_the_count_of_failures(registry: MemoryRegistry, storage: OciStorage) -> None:
    registry.fail(B, *[cut_after(1500)] * 6)
    results, _ = _fetch(registry, storage, retries=0)
    assert results[B].fetched == len(BIG)


@pytest.mark.parametrize(("retries", "requests"), [(0, 1), (1, 2), (3, 4)])
def test_without_progress_the_tries_are_bounded(
    registry: MemoryRegistry, storage: OciStorage, retries: int, requests: int
) -> None:
    registry.fail(B, *[cut_after(0)] * 10)
    with pytest.raises(UnreachableError, match=rf"busybox:1.36: blob {B} broke off at 0 of 10240 bytes: the conn"):
        _fetch(registry, storage, retries=retries)
    assert registry.requests.count((B, 0)) == requests


def test_a_server_that_sends_a_byte_a_time_does_not_hold_us_for_ever(storage: OciStorage) -> None:
    registry = MemoryRegistry([IMAGE])
    registry.fail(B, *[cut_after(1)] * len(BIG))
    with pytest.raises(UnreachableError, match="broke off at 6 of"):
        _fetch(registry, storage, retries=5)


def test_the_breaks_of_one_blob_are_bounded(storage: OciStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyarch.transfer.blob._MOST_BREAKS", 4)
    registry = MemoryRegistry([IMAGE])
    registry.fail(B, *[cut_after(1500)] * len(BIG))
    with pytest.raises(UnreachableError, match="broke off at 7500 of"):
        _fetch(registry, storage)


def test_a_refused_request_is_not_tried_again_here(registry: MemoryRegistry, storage: OciStorage) -> None:
    """The registry's client has done that."""
    registry.fail(B, refuse(UnreachableError("nobody there")))
    with pytest.raises(UnreachableError, match="nobody there"):
        _fetch(registry, storage)
    assert registry.requests.count((B, 0)) == 1


def test_wrong_bytes_are_fetched_once_more(registry: MemoryRegistry, storage: OciStorage) -> None:
    registry.fail(B, other_bytes)
    results, events = _fetch(registry, storage)
    assert registry.requests.count((B, 0)) == 2
    assert results[B].fetched == 2 * len(BIG)
    assert [event.offset for event in events if isinstance(event, BlobRetried)] == [0]


def test_wrong_bytes_twice_are_an_integrity_error(registry: MemoryRegistry, storage: OciStorage) -> None:
    wrong = digest_of(BIG[:-1] + bytes([BIG[-1] ^ 0xFF]))
    registry.fail(B, other_bytes, other_bytes, other_bytes)
    with pytest.raises(IntegrityError, match=f"busybox:1.36: blob {B} was promised, {wrong} came"):
        _fetch(registry, storage)
    assert registry.requests.count((B, 0)) == 2
    assert B not in partials_in(storage.directory)
    assert B not in blobs_in(storage.directory)
    _fetch(registry, storage)


@pytest.mark.parametrize("extra", [1, CHUNK, 1_000_000])
def test_more_bytes_than_promised_are_cut(registry: MemoryRegistry, storage: OciStorage, extra: int) -> None:
    registry.fail(B, more_bytes(extra))
    with pytest.raises(IntegrityError, match=f"blob {B} has more than the 10240 bytes promised"):
        _fetch(registry, storage)
    assert B not in partials_in(storage.directory)


def test_a_size_that_lies_is_told(storage: OciStorage) -> None:
    """The descriptor says less than the blob has: the bytes beyond are not taken, whatever the digest."""
    layer = replace(IMAGE.manifest.layers[1], size=100)
    lying = replace(IMAGE.manifest, layers=(layer,))
    with pytest.raises(IntegrityError, match="more than the 100 bytes"):
        fetch(MemoryRegistry([IMAGE]), NAME, lying, storage)


def test_a_server_that_skips_bytes_gets_nowhere(registry: MemoryRegistry, storage: OciStorage) -> None:
    def ahead(data: bytes, offset: int) -> BlobStream:
        return BlobStream(offset + 10, chunks_of(data[offset + 10 :]))

    registry.fail(B, cut_after(2000), *[ahead] * 3)
    with pytest.raises(UnreachableError, match="bytes from 2010 on, not from 2000"):
        _fetch(registry, storage, retries=1)


def test_a_missing_blob_is_told(storage: OciStorage) -> None:
    with pytest.raises(NotFoundError, match="is unknown"):
        _fetch(MemoryRegistry([]), storage)


def test_a_foreign_layer_is_not_fetched_from_elsewhere(storage: OciStorage) -> None:
    foreign = replace(IMAGE.manifest.layers[1], urls=("http://127.0.0.1:1/layer",))
    manifest = replace(IMAGE.manifest, layers=(foreign,))
    registry = MemoryRegistry([MadeImage(manifest, IMAGE.platform, {CONFIG: IMAGE.blobs[CONFIG]})])
    with pytest.raises(NotFoundError, match="is a foreign one, which its registry does not hold") as caught:
        fetch(registry, NAME, manifest, storage)
    assert "foreign_layers" in (caught.value.hint or "")


def test_a_full_storage_ends_the_transfer(registry: MemoryRegistry, storage: OciStorage) -> None:
    storage.has_blob(IMAGE.manifest.config)
    _fetch(registry, storage)
    other = made_image("linux/arm64", b"x" * 5000)
    registry.images = [other]
    storage.close()
    (storage.directory / ".polyarch" / "partial").rmdir()
    (storage.directory / ".polyarch" / "partial").touch()
    with pytest.raises(StorageError, match="Not a directory"):
        _fetch(registry, storage, other)


class _Gate:
    """Streams that wait until a number of them are open, or until they are let go."""

    def __init__(self, parties: int) -> None:
        self.barrier = threading.Barrier(parties, timeout=20)
        self.go = threading.Event()

    def together(self, data: bytes, offset: int) -> BlobStream:
        def chunks() -> Chunks:
            self.barrier.wait()
            yield from chunks_of(data[offset:])

        return BlobStream(offset, chunks())

    def until_let_go(self, first: int) -> Fault:
        """`first` bytes, then nothing until `go`; it never ends by itself."""

        def chunks(data: bytes) -> Chunks:
            yield data[:first]
            self.barrier.wait()
            while self.go.wait(20):
                yield b"x"

        return lambda data, offset: BlobStream(offset, chunks(data[offset:]))


def test_blobs_come_at_the_same_time(registry: MemoryRegistry, storage: OciStorage) -> None:
    gate = _Gate(3)
    for digest in IMAGE.blobs:
        registry.fail(digest, gate.together)
    _fetch(registry, storage, max_connections=3)
    assert registry.most_at_once == 3


def test_the_first_failure_ends_the_others_which_keep_their_bytes(storage: OciStorage) -> None:
    image = made_image("linux/arm64", SMALL, BIG, b"y" * 5000)
    registry = MemoryRegistry([image])
    gate = _Gate(2)

    def fails(data: bytes, offset: int) -> BlobStream:
        def chunks() -> Chunks:
            yield data[:10]
            gate.barrier.wait()
            gate.go.set()
            raise NotFoundError("gone")

        return BlobStream(offset, chunks())

    registry.fail(B, gate.until_let_go(3000))
    registry.fail(digest_of(b"y" * 5000), fails)
    with pytest.raises(NotFoundError, match="gone"):
        _fetch(registry, storage, image, max_connections=2)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("transfer-")]
    assert partials_in(storage.directory)[digest_of(b"y" * 5000)] == 10
    assert partials_in(storage.directory)[B] >= 3000
    assert digest_of(SMALL) not in [digest for digest, _ in registry.requests]


def test_a_defect_in_a_thread_is_not_swallowed(registry: MemoryRegistry, storage: OciStorage) -> None:
    registry.fail(B, refuse(IndexError("a defect")))
    with pytest.raises(IndexError, match="a defect"):
        _fetch(registry, storage)


def test_progress_is_told_in_order_and_not_too_often(storage: OciStorage) -> None:
    data = bytes(4 << 20)
    image = made_image("linux/arm64", data)
    results, events = _fetch(MemoryRegistry([image]), storage, image)
    digest = digest_of(data)
    mine = [event for event in events if getattr(event, "digest", "") == digest]
    assert mine[0] == BlobStarted(digest, len(data), 0)
    assert mine[-1] == BlobDone(digest, len(data), "downloaded")
    progress = [event.received for event in mine if isinstance(event, BlobProgress)]
    assert progress == sorted(set(progress))
    assert 10 <= len(progress) <= 64
    assert results[digest].status == "downloaded"


def test_faults_of_all_kinds_in_a_row_end_well(registry: MemoryRegistry, storage: OciStorage) -> None:
    registry.fail(B, cut_after(0), cut_after(2500), ignore_offset, honest)
    registry.fail(CONFIG, end_after(3), other_bytes, honest)
    _fetch(registry, storage)
    assert blobs_in(storage.directory) == set(IMAGE.blobs)
