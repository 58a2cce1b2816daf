"""HTTP over unix sockets."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.errors import UnreachableError
from polyarch.registry.local import LocalHttp
from polyarch.registry.origin import Origin
from polyarch.registry.transport import Line, Transport
from support.unix_http import Asked, Said, unix_http

BASE = "http://localhost"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "engine.sock"


@pytest.fixture
def http(place: Path) -> Iterator[LocalHttp]:
    client = LocalHttp(place)
    yield client
    client.close()


def test_a_request_reaches_who_listens_there(place: Path, http: LocalHttp) -> None:
    with unix_http(place, lambda asked: Said(b"fine", 203, {"X-Own": "yes"})) as asked:
        with http.request("GET", f"{BASE}/a/b?c=d%20e", headers={"X-Mine": "1"}) as reply:
            assert (reply.status, reply.read(10), reply.headers["x-own"]) == (203, b"fine", "yes")
    assert (asked[0].method, asked[0].path, asked[0].headers["X-Mine"]) == ("GET", "/a/b?c=d%20e", "1")


def test_a_body_of_parts_travels_as_it_comes(place: Path, http: LocalHttp) -> None:
    parts = [b"one", b"two" * 100_000, b"three"]
    with unix_http(place, lambda asked: Said()) as asked:
        with http.request("POST", f"{BASE}/load", content=iter(parts)) as reply:
            assert reply.status == 200
    assert asked[0].body == b"".join(parts)
    assert asked[0].pieces == len(parts)


def test_the_body_of_an_answer_comes_in_chunks(place: Path, http: LocalHttp) -> None:
    with unix_http(place, lambda asked: Said(b"x" * (3 << 20))):
        with http.request("GET", f"{BASE}/get") as reply:
            sizes = [len(chunk) for chunk in reply.chunks()]
    assert sum(sizes) == 3 << 20
    assert max(sizes) < 1 << 20


def test_an_answer_before_all_is_sent_is_read_whole(place: Path, http: LocalHttp) -> None:
    """An engine whose disk is full says so, and closes: what it said counts, not that nothing more could be sent."""
    sent = 0

    def endless() -> Iterator[bytes]:
        nonlocal sent
        while sent < 1 << 30:
            sent += 1 << 18
            yield bytes(1 << 18)

    with unix_http(place, lambda asked: Said(b'{"error":"no space left"}'), early=1 << 20):
        with http.request("POST", f"{BASE}/load", content=endless()) as reply:
            assert reply.read(100) == b'{"error":"no space left"}'
    assert sent < 1 << 30


def test_what_the_body_raises_is_raised(place: Path, http: LocalHttp) -> None:
    class Own(Exception):
        pass

    def broken() -> Iterator[bytes]:
        yield b"some"
        raise Own

    with unix_http(place, lambda asked: Said()) as asked:
        with pytest.raises(Own), http.request("POST", f"{BASE}/load", content=broken()):
            pass
        with http.request("GET", f"{BASE}/after") as reply:
            assert reply.status == 200
    assert [each.path for each in asked] == ["/after"]  # a body that broke off is no request


def test_nobody_listens(place: Path, http: LocalHttp) -> None:
    with pytest.raises(UnreachableError, match=r"engine\.sock: no such file"), http.request("GET", f"{BASE}/"):
        pass
    with socket.socket(socket.AF_UNIX) as left:
        left.bind(str(place))
    with pytest.raises(UnreachableError, match="connection refused"), http.request("GET", f"{BASE}/"):
        pass


def test_an_answer_that_breaks_off(place: Path, http: LocalHttp) -> None:
    with unix_http(place, lambda asked: Said(b"half", cut=True)):
        with http.request("GET", f"{BASE}/") as reply, pytest.raises(UnreachableError):
            reply.read(10)


def test_a_proxy_of_the_environment_is_not_asked(place: Path, http: LocalHttp, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with unix_http(place, lambda asked: Said(b"fine")), http.request("GET", f"{BASE}/") as reply:
        assert reply.read(10) == b"fine"


def test_closing_wakes_who_waits(place: Path, http: LocalHttp) -> None:
    waiting, over = threading.Event(), threading.Event()

    def answer(asked: Asked) -> Said:
        waiting.set()
        over.wait(30)
        return Said()

    raised: list[BaseException] = []

    def ask() -> None:
        try:
            with http.request("GET", f"{BASE}/"):
                pass
        except UnreachableError as error:
            raised.append(error)

    with unix_http(place, answer):
        thread = threading.Thread(target=ask)
        thread.start()
        assert waiting.wait(30)
        http.close()
        thread.join(30)
        over.set()
    assert len(raised) == 1


def test_an_engine_may_think_for_longer_than_a_registry(place: Path) -> None:
    """The time limit of a silent network is not that of a load, which may take minutes."""
    limit = 0.05
    transport = Transport(connect_timeout=10, read_timeout=limit)

    def answer(asked: Asked) -> Said:
        threading.Event().wait(4 * limit)
        return Said(b"done")

    with unix_http(place, answer):
        reply = transport.send("GET", Line(Origin("http", "localhost", 80), socket=str(place)), "/", {})
        assert reply.read(10) == b"done"
    transport.close()
