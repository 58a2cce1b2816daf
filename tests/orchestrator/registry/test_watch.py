"""Answers that do not get on: those that drip, and those that talk without saying anything. No clock is waited for."""

from __future__ import annotations

from itertools import count, repeat

import httpcore
import pytest

from polyarch.limits import LEAST_PROGRESS, MAX_HEAD, MAX_HEAD_WAITS, MAX_IDLE_TALK, MAX_WIRE_RATIO
from polyarch.registry import sockets
from polyarch.registry.faults import ConnectionFault
from polyarch.registry.origin import Origin
from polyarch.registry.transport import Line, Transport
from polyarch.registry.watch import Watch

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second goes by from one look at the clock to the next."""
    clock = count()
    monkeypatch.setattr(sockets.time, "monotonic", lambda: next(clock))


def _drips(sizes: list[int], longest: float | None = 10) -> int | None:
    """After which part of a body, each waited for a second, the watch finds it out."""
    watched = Watch()
    watched.body()
    for number, size in enumerate(sizes):
        watched.heard(size, 1)
        watched.body(size)
        if watched.stands(longest):
            return number
    return None


def test_what_drips_is_found_out_and_what_is_slow_is_not() -> None:
    assert _drips([1] * 100) == 10
    assert _drips([LEAST_PROGRESS // 13] * 100) == 10
    assert _drips([LEAST_PROGRESS // 10] * 100) is None
    assert _drips([LEAST_PROGRESS] * 100) is None
    assert _drips([*[1] * 9, LEAST_PROGRESS] * 10) is None, "large parts in between"
    assert _drips([1] * 100, None) is None, "on a unix socket"


def test_the_next_request_begins_anew() -> None:
    watched = Watch()
    for _ in range(10):
        watched.begin()
        for _ in range(5):
            watched.heard(100, 1)
            assert not watched.stands(5)


def test_a_pause_of_who_reads_counts_for_nothing() -> None:
    """Nor does what comes at once, however late."""
    watched = Watch()
    watched.body()
    for _ in range(10):
        watched.heard(LEAST_PROGRESS, 9)
        watched.body(LEAST_PROGRESS)
        assert not watched.stands(10)


def test_talk_is_no_progress() -> None:
    """However much comes on the wire: of a body it is what counts that is its own."""
    watched = Watch()
    watched.body()
    for _ in range(10):
        watched.heard(2 * LEAST_PROGRESS, 1)
        watched.body(1)
        assert not watched.stands(10)
    watched.heard(2 * LEAST_PROGRESS, 1)
    assert watched.stands(10)


def test_a_head_is_not_waited_for_for_ever() -> None:
    """However well it gets on."""
    watched = Watch()
    for _ in range(10 * MAX_HEAD_WAITS):
        watched.heard(LEAST_PROGRESS, 1)
        assert not watched.stands(10)
    watched.heard(LEAST_PROGRESS, 1)
    assert watched.stands(10)
    watched.body(LEAST_PROGRESS)
    assert not watched.stands(10)


def _body(parts: list[bytes], path_direct: bool = False) -> bytes:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(httpcore, "SyncBackend", lambda: httpcore.MockBackend(list(parts)))
        patched.setattr(sockets.Sockets, "add", lambda self, opened: None)
        patched.setattr(sockets.Stream, "_send", lambda self, buffer, timeout: None)
        client = Transport(connect_timeout=1, read_timeout=5)
        reply = client.send("GET", Line(Origin("http", "127.0.0.1", 1), bulk=path_direct), "/", {})
        try:
            return b"".join(reply.chunks())
        finally:
            client.close()


@pytest.mark.usefixtures("seconds")
@pytest.mark.parametrize(
    "parts",
    [
        pytest.param([bytes([byte]) for byte in CHUNKED], id="head"),
        pytest.param([b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", *repeat(b"x", 100)], id="body"),
        pytest.param([CHUNKED, b"1;", *repeat(b"x", 100)], id="chunk-extension"),
        pytest.param([CHUNKED, b"0\r\n", *repeat(b"a", 100)], id="trailer"),
        pytest.param([*repeat(CONTINUE, 10), CHUNKED + b"0\r\n\r\n"], id="100-continue"),
    ],
)
def test_an_answer_that_drips_is_cut(parts: list[bytes]) -> None:
    with pytest.raises(ConnectionFault, match="nothing more came within the time limit"):
        _body(parts)


@pytest.mark.usefixtures("seconds")
def test_a_large_body_that_drips_is_cut() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 9000000\r\n\r\n"
    with pytest.raises(ConnectionFault, match="nothing more came within the time limit"):
        _body([head + b"x" * 5000, b"x" * 5000, *repeat(b"x", 100)], path_direct=True)


@pytest.mark.parametrize(
    ("parts", "says"),
    [
        pytest.param([CONTINUE * 100] * 1000, "says nothing", id="100-continue"),
        pytest.param([b"HTTP/1.1 200 OK\r\n", *repeat(b"X: %s\r\n" % (b"y" * 5000), 1000)], "broke off", id="fields"),
        pytest.param(
            [b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MAX_HEAD // 6 + 1) + b"Content-Length: 0\r\n\r\n"],
            f"more than {MAX_HEAD} bytes",
            id="fields-at-once",
        ),
    ],
)
def test_a_head_without_end(parts: list[bytes], says: str) -> None:
    with pytest.raises(ConnectionFault, match=says):
        _body(parts)


def test_much_talk_without_a_byte_of_the_body() -> None:
    watched = Watch()
    watched.body()
    watched.heard(MAX_IDLE_TALK, 0)
    assert not watched.talks_on
    watched.heard(1, 0)
    assert watched.talks_on
    watched.body(1)
    assert not watched.talks_on


def test_much_talk_for_each_byte_of_the_body() -> None:
    watched = Watch()
    watched.body()
    rounds = 0
    while not watched.talks_on:
        watched.heard(1000, 0)
        watched.body(1)
        rounds += 1
    assert rounds == MAX_IDLE_TALK // (1000 - MAX_WIRE_RATIO) + 1
