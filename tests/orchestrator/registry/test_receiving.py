"""Large bodies straight from a socket: real ones, with and without TLS."""

from __future__ import annotations

import random
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import httpcore
import pytest

from polyarch.registry import receiving
from polyarch.registry.receiving import received
from support.certificates import self_signed

DATA = random.Random(1).randbytes(3 * receiving.BUFFER + 12_345)
TIMEOUT = 30.0
Sending = Callable[[bytes, Callable[[], object]], AbstractContextManager[socket.socket]]


@pytest.fixture(params=["plain", "TLS"])
def sending(request: pytest.FixtureRequest, tmp_path: Path) -> Sending:
    """Gives the receiving end of a connection whose other end sends `data` and then does `after`."""
    contexts = None
    if request.param == "TLS":
        key, certificate = self_signed(tmp_path)
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(certificate, key)
        contexts = server, ssl.create_default_context(cafile=str(certificate))

    @contextmanager
    def connected(data: bytes, after: Callable[[], object]) -> Iterator[socket.socket]:
        near, far = socket.socketpair()
        far.settimeout(TIMEOUT)

        def send() -> None:
            with contexts[0].wrap_socket(far, server_side=True) if contexts else far as opened:
                opened.sendall(data)
                after()

        thread = threading.Thread(target=send, daemon=True)
        thread.start()
        near.settimeout(TIMEOUT)
        with contexts[1].wrap_socket(near, server_hostname="127.0.0.1") if contexts else near as opened:
            yield opened
        thread.join(TIMEOUT)
        assert not thread.is_alive()

    return connected


def _nothing() -> None:
    pass


def test_the_bytes_are_those_that_were_sent(sending: Sending) -> None:
    with sending(DATA, _nothing) as opened:
        parts = [bytes(part) for part in received(opened, len(DATA), TIMEOUT)]
    assert b"".join(parts) == DATA
    assert max(map(len, parts)) <= receiving.BUFFER


def test_no_byte_beyond_is_taken(sending: Sending) -> None:
    size = len(DATA) - 5
    with sending(DATA, _nothing) as opened:
        assert b"".join(map(bytes, received(opened, size, TIMEOUT))) == DATA[:size]
        opened.settimeout(TIMEOUT)
        assert opened.recv(100) == DATA[size:]


def test_what_is_at_hand_is_given_at_once(sending: Sending) -> None:
    """Two records of TLS come together, and nobody waits for a third one."""
    go_on, sent = threading.Event(), threading.Event()

    def after() -> None:
        sent.set()
        assert go_on.wait(TIMEOUT)

    data = DATA[:20_000]
    with sending(data, after) as opened:
        parts = received(opened, len(data) + 1, TIMEOUT)
        assert sent.wait(TIMEOUT)
        assert bytes(next(parts)) == data
        go_on.set()
        with pytest.raises((httpcore.RemoteProtocolError, httpcore.ReadError)):
            next(parts)


def test_what_came_before_a_break_is_not_lost(sending: Sending) -> None:
    data, got = DATA[:100_000], list[bytes]()
    with sending(data, _nothing) as opened:
        parts = received(opened, len(DATA), TIMEOUT)
        with pytest.raises((httpcore.RemoteProtocolError, httpcore.ReadError)):
            got.extend(map(bytes, parts))
    assert b"".join(got) == data


def test_silence_is_a_timeout(sending: Sending) -> None:
    over = threading.Event()
    with sending(b"x", lambda: over.wait(TIMEOUT)) as opened:
        parts = received(opened, 2, 0.05)
        assert bytes(next(parts)) == b"x"
        with pytest.raises(httpcore.ReadTimeout):
            next(parts)
        over.set()
