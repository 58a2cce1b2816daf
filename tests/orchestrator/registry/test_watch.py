"""Answers that do not get on: those that drip, and those that talk without saying anything. No clock is waited for."""

from __future__ import annotations

from itertools import count, repeat

import httpcore
import pytest

from polyarch.limits import LEAST_PROGRESS, MAX_HEAD, MAX_IDLE_TALK
from polyarch.registry import sockets, watch
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
    monkeypatch.setattr(watch.time, "monotonic", lambda: next(clock))


def _drips(sizes: list[int], longest: float | None = 10) -> int | None:
    """After which part the watch finds it out."""
    watched = Watch()
    return next((number for number, size in enumerate(sizes) if watched.drips(size, longest)), None)


@pytest.mark.usefixtures("seconds")
def test_what_drips_is_found_out_and_what_is_slow_is_not() -> None:
    assert _drips([1] * 100) == 11
    assert _drips([LEAST_PROGRESS // 13] * 100) == 11
    assert _drips([LEAST_PROGRESS // 10] * 100) is None
    assert _drips([LEAST_PROGRESS] * 100) is None
    assert _drips([*[1] * 9, LEAST_PROGRESS] * 10) is None, "large parts in between"
    assert _drips([1] * 100, None) is None, "on a unix socket"


@pytest.mark.usefixtures("seconds")
def test_the_next_request_begins_anew() -> None:
    watched = Watch()
    for _ in range(10):
        watched.begin()
        assert not any(watched.drips(100, 5) for _ in range(5))


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
    watched.heard(MAX_IDLE_TALK)
    assert not watched.talks_on
    watched.heard(1)
    assert watched.talks_on
    watched.body()
    assert not watched.talks_on
