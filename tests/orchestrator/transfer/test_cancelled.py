"""A transfer that is not wanted any more while it waits for the network."""

from __future__ import annotations

import threading

import pytest

from polyarch.contract import BlobStream, UnreachableError
from polyarch.events import BlobRetried, Event
from polyarch.oci.digest import digest_of
from polyarch.reference import parse_reference
from polyarch.transfer.blob import Cancelled, bring_blob
from polyarch_plugins.storages.oci.storage import OciStorage
from support.memory_registry import Chunks, MemoryRegistry, made_image
from support.storages import partials_in

DATA = b"x" * 5000
IMAGE = made_image("linux/arm64", DATA)


def test_a_connection_that_was_closed_for_that_is_no_fault(storage: OciStorage) -> None:
    """Whoever cancels closes it under a read that waits: nothing is told or asked for again, what came is kept."""
    registry, cancelled, events = MemoryRegistry([IMAGE]), threading.Event(), list[Event]()

    def closed(data: bytes, offset: int) -> BlobStream:
        def chunks() -> Chunks:
            yield memoryview(data)[:1000]
            cancelled.set()
            raise UnreachableError("the connection was closed before all had come")

        return BlobStream(offset, chunks())

    digest = digest_of(DATA)
    registry.fail(digest, closed)
    layer, name = IMAGE.manifest.layers[0], parse_reference("busybox:1.36")
    with storage.write_blob(layer) as writer:
        assert writer is not None
        with pytest.raises(Cancelled):
            bring_blob(registry, name, layer, writer, retries=5, emit=events.append, cancelled=cancelled)
    assert not [event for event in events if isinstance(event, BlobRetried)]
    assert registry.requests == [(digest, 0)]
    assert partials_in(storage.directory)[digest] == 1000
