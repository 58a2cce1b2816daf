"""Large bodies that are read past h11: the same bytes, wherever the answer was cut into pieces."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import httpcore
import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.registry import sockets, transport
from polyarch.registry.faults import ConnectionFault
from polyarch.registry.origin import Origin
from polyarch.registry.transport import Line, Transport
from polyarch.registry.watch import Watch

BODY = b"\r\n\r\n".join(bytes([number]) * 50 for number in range(40))
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(BODY) + BODY
LINE = Line(Origin("http", "127.0.0.1", 1), bulk=True)


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = [0, *sorted(set(cuts)), len(data)]
    return [data[start:end] for start, end in pairwise(ends) if end > start]


def received(parts: list[bytes], line: Line = LINE, method: str = "GET", direct: int = 1) -> tuple[bytes, list[int]]:
    """The body of an answer that comes in these parts, and how much of it was read past h11."""
    past: list[int] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(transport, "DIRECT_SIZE", direct)
        patched.setattr(httpcore, "SyncBackend", lambda: httpcore.MockBackend(list(parts)))
        patched.setattr(sockets.Sockets, "add", lambda self, opened: None)
        patched.setattr(sockets.Stream, "_send", lambda self, buffer, timeout: None)
        honest = sockets.Stream.rest

        def rest(self, size, timeout=None):  # type: ignore[no-untyped-def]
            past.append(size)
            return honest(self, size, timeout)

        patched.setattr(sockets.Stream, "rest", rest)
        client = Transport(connect_timeout=1, read_timeout=1)
        reply = client.send(method, line, "/", {})
        try:
            return b"".join(reply.chunks()), past
        finally:
            reply.discard()
            client.close()


@given(st.lists(st.integers(1, len(ANSWER) - 1), max_size=6))
def test_the_bytes_are_the_same_wherever_it_was_cut(cuts: list[int]) -> None:
    body, _ = received(pieces(ANSWER, cuts))
    assert body == BODY


@pytest.mark.parametrize("cut", [len(ANSWER) - len(BODY), len(ANSWER) - len(BODY) + 7, len(ANSWER) - 1])
def test_the_rest_is_read_past_h11(cut: int) -> None:
    body, past = received(pieces(ANSWER, [cut, cut + 500]))
    assert (body, len(past)) == (BODY, 1)


def test_a_head_in_pieces_is_left_to_h11() -> None:
    """What was read last begins in the middle of the head's end: nobody can tell how much of it is body."""
    body, past = received(pieces(ANSWER, [len(ANSWER) - len(BODY) - 2, len(ANSWER) - len(BODY) + 99]))
    assert (body, past) == (BODY, [])


def test_hints_before_the_answer() -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    body, past = received([hints + ANSWER[:200], ANSWER[200:]])
    assert (body, past) == (BODY, [])


def test_an_answer_that_breaks_off() -> None:
    with pytest.raises(ConnectionFault, match="broke off"):
        received([ANSWER[:300], ANSWER[300:500]])


@pytest.mark.parametrize(
    ("answer", "line", "method", "direct"),
    [
        pytest.param(ANSWER, LINE, "GET", len(BODY) + 1, id="small"),
        pytest.param(ANSWER, Line(LINE.origin), "GET", 1, id="not-bulk"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
            LINE, "GET", 1, id="chunked",
        ),
        pytest.param(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + BODY, LINE, "GET", 1, id="until-closed"),
        pytest.param(ANSWER.replace(b"200 OK", b"404 No"), LINE, "GET", 1, id="refusal"),
    ],
)  # fmt: skip
def test_what_is_left_to_h11(answer: bytes, line: Line, method: str, direct: int) -> None:
    body, past = received([answer[:200], answer[200:]], line, method, direct)
    assert (body, past) == (BODY, [])


class _Inner(httpcore.MockStream):
    """A connection through a proxy's TLS: its socket has other bytes than what is read of it."""

    def __init__(self, opened: socket.socket) -> None:
        super().__init__([b"of the ", b"inner"])
        self._opened = opened

    def get_extra_info(self, info: str) -> Any:
        return self._opened if info == "socket" else super().get_extra_info(info)

    def start_tls(self, *_: Any, **__: Any) -> httpcore.NetworkStream:
        return self


def test_tls_within_tls_is_not_read_from_its_socket() -> None:
    near, far = socket.socketpair()
    with near, far:
        far.sendall(b"of the outer")
        stream: httpcore.NetworkStream = sockets.Stream(_Inner(near), sockets.Sockets(), Watch())
        for _ in range(2):
            stream = stream.start_tls(ssl.create_default_context())
        assert isinstance(stream, sockets.Stream)
        assert b"".join(map(bytes, stream.rest(12, 1))) == b"of the inner"
