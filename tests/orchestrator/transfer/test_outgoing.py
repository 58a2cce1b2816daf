"""The bytes of a blob on their way out: the last of them only if all are right."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.contract.registry import BlobStream
from polyarch.errors import IntegrityError, UnreachableError
from polyarch.events import BlobRetried, Event
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.transfer.blob import Cancelled
from polyarch.transfer.outgoing import OpenBlob, Outgoing

CONTENT = bytes(range(256)) * 8
BLOB = Descriptor("x", digest_of(CONTENT), len(CONTENT))


def source(content: bytes, step: int, breaks: list[int] | None = None, *, ranges: bool = True) -> OpenBlob:
    """Gives `content` in pieces; breaks off behind so many bytes, for the next readings in turn."""

    @contextmanager
    def open_blob(blob: Descriptor, offset: int) -> Iterator[BlobStream]:
        start = offset if ranges else 0
        end = len(content)
        if breaks:
            end = min(end, start + breaks.pop(0))
            broken = True
        else:
            broken = False

        def chunks() -> Iterator[bytes]:
            for i in range(start, end, step):
                yield content[i : min(i + step, end)]
            if broken:
                raise UnreachableError("it broke")

        yield BlobStream(start, chunks())

    return open_blob


def outgoing(open_blob: OpenBlob, retries: int = 3, emit: Callable[[Event], None] = lambda event: None) -> Outgoing:
    cancelled = threading.Event()
    cancelled.wait = lambda timeout=None: False  # type: ignore[method-assign]
    return Outgoing(BLOB, open_blob, retries=retries, emit=emit, cancelled=cancelled)


def read(one: Outgoing, offset: int = 0) -> bytes:
    data = b""
    with one.open_at(offset) as stream:
        for chunk in stream.chunks:
            data += bytes(chunk)
    return data


@given(st.integers(1, 700), st.lists(st.integers(1, 900), max_size=4), st.booleans())
def test_a_source_that_breaks_off_is_read_on(step: int, breaks: list[int], ranges: bool) -> None:
    events: list[Event] = []
    broken = list(breaks)
    one = outgoing(source(CONTENT, step, broken, ranges=ranges), retries=10, emit=events.append)
    assert read(one) == CONTENT
    assert one.sent == len(CONTENT)
    assert (
        sum(isinstance(event, BlobRetried) for event in events) >= (len(breaks) if sum(breaks) < 2048 else 0) * ranges
    )


@given(st.integers(1, 700), st.integers(0, len(CONTENT) - 1), st.integers(1, 255))
def test_the_last_bytes_of_a_wrong_blob_are_kept_back(step: int, place: int, change: int) -> None:
    wrong = bytearray(CONTENT)
    wrong[place] ^= change
    one = outgoing(source(bytes(wrong), step))
    came: list[int] = []
    with one.open_at(0) as stream, pytest.raises(IntegrityError, match="was promised"):
        came.extend(len(chunk) for chunk in stream.chunks)
    assert sum(came) < len(CONTENT)


def test_the_digest_goes_over_parts_that_went_again() -> None:
    one = outgoing(source(CONTENT, 100))
    with one.open_at(0) as stream:
        for _, _ in zip(range(8), stream.chunks, strict=False):
            pass
    assert read(one, 500) == CONTENT[500:]
    assert read(one) == CONTENT  # and from the first byte, hashed anew


def test_what_begins_again_is_hashed_again() -> None:
    """A source that gave wrong bytes and gives the right ones now."""
    contents = [bytes(1000), CONTENT]

    def open_blob(blob: Descriptor, offset: int) -> AbstractContextManager[BlobStream]:
        return source(contents.pop(0), 1000)(blob, offset)

    one = outgoing(open_blob)
    with one.open_at(0) as stream:
        assert next(iter(stream.chunks)) == bytes(1000)
    assert read(one) == CONTENT


def test_more_than_promised_is_refused() -> None:
    with pytest.raises(IntegrityError, match="more than the 2048 bytes"):
        read(outgoing(source(CONTENT + b"x", 4096)))


def test_a_source_that_gives_nothing_is_given_up() -> None:
    with pytest.raises(UnreachableError, match="broke off at 0 of 2048 bytes: the stream ended early"):
        read(outgoing(source(b"", 10)))


def test_an_empty_blob_is_checked() -> None:
    empty = Descriptor("x", BLOB.digest, 0)
    one = Outgoing(empty, source(b"", 1), retries=0, emit=lambda event: None, cancelled=threading.Event())
    with pytest.raises(IntegrityError):
        read(one)


def test_who_is_not_wanted_any_more_stops() -> None:
    cancelled = threading.Event()
    one = Outgoing(BLOB, source(CONTENT, 100), retries=0, emit=lambda event: None, cancelled=cancelled)
    with one.open_at(0) as stream:
        chunks = iter(stream.chunks)
        assert next(chunks) == CONTENT[:100]
        cancelled.set()
        with pytest.raises(Cancelled):
            next(chunks)


def test_a_source_that_was_closed_for_that_is_no_fault() -> None:
    cancelled, events = threading.Event(), list[Event]()
    one = Outgoing(BLOB, source(CONTENT, 100, [100]), retries=3, emit=events.append, cancelled=cancelled)
    with one.open_at(0) as stream:
        chunks = iter(stream.chunks)
        next(chunks)
        cancelled.set()
        with pytest.raises(Cancelled):
            next(chunks)
    assert events == []


def test_nobody_has_more_than_was_sent() -> None:
    """Else the digest of all would be wrong, and the source be blamed for it."""
    one = outgoing(source(CONTENT, 100, [500, 0]), retries=0)
    with pytest.raises(UnreachableError, match="broke off at 500"):
        read(one)
    with pytest.raises(UnreachableError, match="501 bytes are said to have come, and 500 were sent"):
        read(one, 501)
    assert read(one, 500) == CONTENT[500:]
