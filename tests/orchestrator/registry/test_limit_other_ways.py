"""Further ways past a limit: much talk around little, encodings of encodings, lists, uploads, tries of tries."""

from __future__ import annotations

import contextlib
import gzip
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from polyarch.contract.registry import BlobStream
from polyarch.errors import IntegrityError, NotFoundError, PolyarchError, UnreachableError
from polyarch.limits import MAX_CHALLENGES, MAX_REDIRECTS, MAX_SHORT_CHUNKS
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.oci.document import parse_document
from polyarch.reference import Reference, parse_reference
from polyarch.registry import pages, uploads
from support.http2_server import Http2Server, Stream
from support.registry_client import Connect, Connected
from support.registry_faults.case import LAYER, LAYER_BYTES, MANIFEST, MANIFEST_DOCUMENT, chunked, encoded
from support.registry_faults.server import Answer, FaultServer, Raw, Reply, Request, Wire, for_ever, raw

UNDER_WAY = 12 << 20
OK = b"HTTP/1.1 200 OK\r\n"
BLOB = Descriptor(LAYER, digest_of(LAYER_BYTES), len(LAYER_BYTES))

Serve = Callable[[Callable[[Request], Answer]], FaultServer]
Ask = Callable[[Connected, Reference], object]


def _costly(*values: object) -> Iterator[object]:
    return (pytest.param(value, marks=pytest.mark.costly) for value in values)


@pytest.fixture
def serve() -> Iterator[Serve]:
    """What answers each request -> the running server."""
    servers: list[FaultServer] = []

    def make(answer: Callable[[Request], Answer]) -> FaultServer:
        servers.append(FaultServer(answer, most=1 << 28, api=True))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


def _manifest(connected: Connected, name: Reference) -> object:
    return connected.registry.get(name)


def _tags(connected: Connected, name: Reference) -> object:
    return list(connected.registry.tags(name))


def _repositories(connected: Connected, name: Reference) -> object:
    return list(connected.registry.repositories(name.registry))


def _referrers(connected: Connected, name: Reference) -> object:
    return list(connected.registry.referrers(name.with_digest(digest_of(b"x"))))


def _blob(connected: Connected, name: Reference) -> bytes:
    with connected.registry.open_blob(name, BLOB) as stream:
        return b"".join(bytes(chunk) for chunk in stream.chunks)


@contextmanager
def _open_at(offset: int) -> Iterator[BlobStream]:
    yield BlobStream(offset, iter([LAYER_BYTES[offset:]]))


def _put_blob(connected: Connected, name: Reference) -> object:
    connected.registry.put_blob(name, BLOB, _open_at)
    return None


def _mount(connected: Connected, name: Reference) -> object:
    return connected.registry.mount_blob(name, BLOB, "other")


def _put(connected: Connected, name: Reference) -> object:
    return connected.registry.put(name, parse_document(encoded(MANIFEST_DOCUMENT), MANIFEST))


ASKS: dict[str, Ask] = {"manifest": _manifest, "tags": _tags, "repositories": _repositories, "referrers": _referrers}
SENDS: dict[str, Ask] = {"blob": _put_blob, "mount": _mount, "put": _put}


def _with(head: bytes, parts: Iterator[bytes]) -> Raw:
    def send(wire: Wire) -> Iterator[bytes]:
        yield head
        yield from parts

    return Raw(send)


CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n"
TALK = {
    "extensions": (b"1;a=" + b"y" * 60_000 + b"\r\n \r\n"),
    "small-extensions": (b"1;a=" + b"y" * 200 + b"\r\n \r\n") * 300,
    "zeros": (b"0" * 19 + b"1\r\n \r\n") * 3000,
}


@pytest.mark.parametrize("ask", ["manifest", *_costly("tags", "repositories", "referrers")])
@pytest.mark.parametrize("talk", ["small-extensions", *_costly("extensions", "zeros")])
def test_chunks_of_one_byte(connect: Connect, serve: Serve, ask: str, talk: str) -> None:
    """With much around it: the limit on what nobody reads holds for all of them together."""
    server = serve(lambda request: _with(CHUNKED, for_ever(TALK[talk])))
    with pytest.raises((UnreachableError, IntegrityError)):
        ASKS[ask](connect(retries=0), parse_reference(f"{server.address}/a:1"))
    assert server.taken < (4 << 20) * 10 + UNDER_WAY if talk == "zeros" else server.taken < (1 << 20) + UNDER_WAY


@pytest.mark.parametrize("ask", ["manifest", *_costly("tags", "repositories", "referrers")])
@pytest.mark.parametrize("field", [b"X: y\r\n", b"X: %b\r\n" % (b"y" * 5000)], ids=["short", "long"])
def test_trailers_without_end(connect: Connect, serve: Serve, ask: str, field: bytes) -> None:
    server = serve(lambda request: _with(CHUNKED + b"2\r\n{}\r\n0\r\n", for_ever(field * 100)))
    with pytest.raises((UnreachableError, IntegrityError)):
        ASKS[ask](connect(retries=0), parse_reference(f"{server.address}/a:1"))
    assert server.taken < UNDER_WAY


ENCODINGS = ("gzip, gzip", "gzip,gzip", "identity, gzip", "br", "zstd", "compress", "x", "gzip;q=1", "deflate, gzip")


@pytest.mark.parametrize("encoding", [*ENCODINGS[:1], *_costly(*ENCODINGS[1:])])
@pytest.mark.parametrize("ask", ["manifest", *_costly("tags", "repositories", "referrers")])
def test_encodings_that_were_not_asked_for(connect: Connect, serve: Serve, ask: str, encoding: str) -> None:
    """Not one byte of them is undone, also not of what is packed twice."""
    body = gzip.compress(gzip.compress(bytes(50 << 20)))

    server = serve(lambda request: Reply(200, {"Content-Encoding": encoding}, body))
    with pytest.raises(IntegrityError, match=r"content encoding '.*', which was not asked for"):
        ASKS[ask](connect(retries=0), parse_reference(f"{server.address}/a:1"))


@pytest.mark.parametrize("ask", ["manifest", *_costly("tags", "repositories", "referrers")])
@pytest.mark.parametrize(
    "coding", [b"gzip, chunked", b"gzip", b"chunked, chunked", b"identity", b"chunked\r\nTransfer-Encoding: chunked"]
)
def test_transfer_codings(connect: Connect, serve: Serve, ask: str, coding: bytes) -> None:
    """polyarch asks for none (RFC 9112, 7: `TE`), and knows `chunked` alone."""
    head = OK + b"Transfer-Encoding: " + coding + b"\r\n\r\n"
    server = serve(lambda request: _with(head, for_ever(b"4000\r\n" + b" " * 0x4000 + b"\r\n")))
    with pytest.raises((UnreachableError, IntegrityError)):
        ASKS[ask](connect(retries=0), parse_reference(f"{server.address}/a:1"))
    assert server.taken < (4 << 20) + UNDER_WAY


# Lists


@pytest.mark.parametrize("ask", ["tags", *_costly("repositories")])
def test_a_list_of_padded_pages(connect: Connect, serve: Serve, ask: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each page is within its limit and has one new name."""
    monkeypatch.setattr(pages, "MAX_LIST_SIZE", 8 << 20)
    seen: list[str] = []

    def answer(request: Request) -> Answer:
        seen.append(request.url)
        path = request.url.partition("?")[0]
        key = "tags" if request.kind == "tags" else "repositories"
        body = encoded({"name": "a", key: [f"n{len(seen)}"]}) + b" " * (3 << 20)
        return Reply(200, {"Link": f'<{path}?page={len(seen)}>; rel="next"'}, body)

    with pytest.raises(IntegrityError, match=f"lists more than {8 << 20} bytes"):
        ASKS[ask](connect(retries=0), parse_reference(f"{serve(answer).address}/a:1"))
    assert len(seen) == 3


@pytest.mark.parametrize("ask", ["tags", "repositories"])
@pytest.mark.parametrize("names", ["none", *_costly("same", "ever-new")])
def test_a_list_without_end(
    connect: Connect, serve: Serve, ask: str, names: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "MAX_LIST_PAGES", 50)
    seen: list[str] = []

    def answer(request: Request) -> Answer:
        seen.append(request.url)
        path = request.url.partition("?")[0]
        key = "tags" if request.kind == "tags" else "repositories"
        named = {"none": [], "same": ["x"], "ever-new": [f"n{len(seen)}"]}[names]
        return Reply(200, {"Link": f'<{path}?page={len(seen)}>; rel="next"'}, encoded({"name": "a", key: named}))

    connected, name = connect(retries=0), parse_reference(f"{serve(answer).address}/a:1")
    if names == "same":
        assert ASKS[ask](connected, name) == ["x"]
        assert len(seen) == 2
        return
    with pytest.raises(IntegrityError, match=r"lists more than 16 empty pages|has more than 50 pages"):
        ASKS[ask](connected, name)
    assert len(seen) == (17 if names == "none" else 50)


# What is sent


@pytest.mark.parametrize("send", SENDS)
@pytest.mark.parametrize("status", [201, 202, *_costly(307, 404, 500)])
@pytest.mark.parametrize("kind", ["chunks", *_costly("gzip", "until-closed")])
def test_answers_to_uploads_without_end(connect: Connect, serve: Serve, send: str, status: int, kind: str) -> None:
    def answer(request: Request) -> Answer:
        head = b"HTTP/1.1 %d X\r\nLocation: /v2/a/blobs/uploads/1\r\n" % status
        if kind == "until-closed":
            return _with(head.replace(b"1.1", b"1.0", 1) + b"\r\n", for_ever(b" " * 65536))
        body = gzip.compress(bytes(1 << 20)) if kind == "gzip" else b" " * 65536
        return chunked(head + (b"Content-Encoding: gzip\r\n" if kind == "gzip" else b""), for_ever(body))

    server = serve(answer)
    with contextlib.suppress(PolyarchError):
        SENDS[send](connect(retries=0), parse_reference(f"{server.address}/a:1"))
    assert server.taken < UNDER_WAY


def test_a_registry_that_takes_a_byte_of_each_chunk(
    connect: Connect, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rest would be sent again for ever."""
    monkeypatch.setattr(uploads, "SMALLEST_CHUNK", 100)
    seen = {"PATCH": 0, "PUT": 0, "POST": 0, "GET": 0}

    def answer(request: Request) -> Answer:
        seen[request.method] = seen.get(request.method, 0) + 1
        there = {"Location": "/v2/a/blobs/uploads/1"}
        if request.method == "PUT":
            return Reply(413)
        if request.method == "PATCH":
            return Reply(202, there | {"Range": f"0-{seen['PATCH'] - 1}"})
        if request.method == "GET":
            return Reply(204, there | {"Range": f"0-{seen['PATCH'] - 1}"})
        return Reply(202 if request.method == "POST" else 204, there)

    server = serve(answer)
    with pytest.raises(UnreachableError, match="takes ever too little of an upload"):
        _put_blob(connect(retries=3), parse_reference(f"{server.address}/a:1"))
    assert seen["PATCH"] == MAX_SHORT_CHUNKS + 1


# Tries of tries


def _count(server: FaultServer, ask: Ask, connected: Connected) -> None:
    with pytest.raises(PolyarchError):
        ask(connected, parse_reference(f"{server.address}/a:1"))


@pytest.mark.parametrize("ask", ["manifest", *_costly("tags", "repositories", "referrers")])
def test_tries_times_redirects(connect: Connect, serve: Serve, ask: str) -> None:
    """Every try is led to the end of its redirects, and fails there."""
    seen: list[str] = []

    def answer(request: Request) -> Answer:
        seen.append(request.url)
        hops = int(request.query.get("hop", ["0"])[0])
        if hops == MAX_REDIRECTS:
            return Reply(503)
        host = request.elsewhere if hops % 2 == 0 else server.address
        return Reply(307, {"Location": f"http://{host}/{request.kind}/a/x?hop={hops + 1}"})

    server = serve(answer)
    _count(server, ASKS[ask], connect(retries=2))
    assert len(seen) == 3 * (MAX_REDIRECTS + 1)


@pytest.mark.parametrize("ask", ["manifest", *_costly("tags", "repositories", "referrers")])
def test_tries_times_bodies(connect: Connect, serve: Serve, ask: str) -> None:
    """Every try brings almost as much as is allowed, and breaks off."""
    seen: list[str] = []

    def answer(request: Request) -> Answer:
        seen.append(request.url)
        return _with(OK + b"Content-Length: 4000000\r\n\r\n", iter([b" " * 65536] * 60))

    server = serve(answer)
    _count(server, ASKS[ask], connect(retries=2))
    assert len(seen) == 3
    assert server.taken < 4 << 20


@pytest.mark.parametrize("ask", ["manifest", *_costly("tags", "repositories", "referrers")])
def test_logins_times_logins(connect: Connect, serve: Serve, ask: str) -> None:
    """Every token is refused, and another one asked for, by ever new challenges and token servers."""
    seen: dict[str, int] = {}

    def answer(request: Request) -> Answer:
        seen[request.kind] = seen.get(request.kind, 0) + 1
        number = sum(seen.values())
        if request.kind == "token":
            return Reply(200, {}, encoded({"token": f"token-{number}"}))
        realm = f'Bearer realm="http://{request.host}/token/a/{number}",scope="x:{number}"'
        return Reply(401, {"WWW-Authenticate": realm})

    server = serve(answer)
    _count(server, ASKS[ask], connect(retries=2))
    asked = sum(count for kind, count in seen.items() if kind != "token")
    assert asked == MAX_CHALLENGES + 1
    assert seen["token"] == MAX_CHALLENGES


# Parts of blobs


@pytest.mark.parametrize(
    ("answered", "error"),
    [
        (
            lambda offset: Reply(206, {"Content-Type": "multipart/byteranges; boundary=x"}, b"--x\r\n\r\n"),
            IntegrityError,
        ),
        (lambda offset: Reply(206, {"Content-Range": f"bytes 0-{BLOB.size - 1}/*"}, LAYER_BYTES), None),
        (lambda offset: Reply(206, {"Content-Range": f"bytes 1-{BLOB.size - 1}/*"}, LAYER_BYTES), IntegrityError),
        (lambda offset: Reply(206, {"Content-Range": f"bytes 0-9/{BLOB.size}"}, LAYER_BYTES), IntegrityError),
        (lambda offset: Reply(206, {"Content-Range": "bytes 0-" + "9" * 5000 + "/*"}, LAYER_BYTES), IntegrityError),
        (lambda offset: Reply(206, {}, LAYER_BYTES), IntegrityError),
        (lambda offset: Reply(416, {"Content-Range": "bytes */0"}), UnreachableError),
        (lambda offset: Reply(204), IntegrityError),
        (lambda offset: Reply(404), NotFoundError),
    ],
    ids=["multipart", "whole", "other-part", "shorter", "digits", "no-range", "416", "204", "404"],
)
def test_parts_that_nobody_asked_for(
    connect: Connect, serve: Serve, answered: Callable[[int], Reply], error: type[PolyarchError] | None
) -> None:
    server = serve(lambda request: answered(request.offset))
    connected, name = connect(retries=0), parse_reference(f"{server.address}/a:1")
    if error is None:
        assert _blob(connected, name) == LAYER_BYTES
        return
    with pytest.raises(error):
        _blob(connected, name)


def test_no_part_where_another_comes(connect: Connect, serve: Serve) -> None:
    server = serve(lambda request: raw(OK.replace(b"200", b"206") + b"Content-Range: bytes 0-9/10\r\n\r\n"))
    with connect(retries=0).registry.open_range(parse_reference(f"{server.address}/a:1"), BLOB, 5, 20) as part:
        assert part is None


# HTTP/2


def _frame(kind: int, flags: int, payload: bytes, number: int = 1) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, flags]) + number.to_bytes(4, "big") + payload


def _continuations(stream: Stream) -> None:
    """A head that goes on and on (CVE-2024-27316 and its like)."""
    stream.raw(_frame(1, 0, b"\x88"))
    while True:
        stream.raw(_frame(9, 0, b"\x00\x01a\x7f" + b"\x00" + b"b" * 127) * 100)


def _empty_continuations(stream: Stream) -> None:
    stream.raw(_frame(1, 0, b"\x88"))
    while True:
        stream.raw(_frame(9, 0, b"") * 1000)


def _packed_head(stream: Stream) -> None:
    """One field of 4,000 bytes in the table, which a byte names again 8,000 times (CVE-2016-6581)."""
    field = b"\x40\x01a\x7f" + b"\xa1\x1e" + b"b" * 4000
    stream.raw(_frame(1, 4, b"\x88" + field + b"\xbe" * 8000))
    stream.raw(_frame(0, 1, b"{}"))


def _padded(stream: Stream) -> None:
    """A byte of the body in each frame of 256."""
    stream.head(200)
    while True:
        stream.raw(_frame(0, 8, b"\xff" + b" " + bytes(255)) * 100)


def _trailers(stream: Stream) -> None:
    stream.head(200)
    stream.data(b"{}")
    stream.raw(_frame(1, 0, b"\x00\x01a\x01b"))
    while True:
        stream.raw(_frame(9, 0, b"\x00\x01a\x01b") * 1000)


def _settings(stream: Stream) -> None:
    stream.head(200)
    while True:
        stream.raw(_frame(4, 0, b"\x00\x03\x00\x00\x00\x64", 0) * 1000)


def _pushes(stream: Stream) -> None:
    stream.head(200)
    number = 2
    while True:
        stream.raw(_frame(5, 4, number.to_bytes(4, "big") + b"\x82\x86\x84"))
        number += 2


def _windows(stream: Stream) -> None:
    stream.head(200)
    while True:
        stream.raw(_frame(8, 0, b"\x00\x00\x00\x01", 0) * 1000)


TALKS = (_empty_continuations, _packed_head, _padded, _settings, _windows)


@pytest.fixture
def frames(connect: Connect, tmp_path: Path) -> Iterator[Callable[[Callable[[Stream], None]], int]]:
    """What a server says -> how much of it was taken, by a client that has refused it."""
    servers: list[Http2Server] = []

    def ask(talk: Callable[[Stream], None]) -> int:
        server = Http2Server(tmp_path / f"{len(servers)}", talk)
        servers.append(server)
        known = tmp_path / "known" / server.address
        known.mkdir(parents=True)
        (known / "ca.crt").write_bytes(server.certificate.read_bytes())
        client = connect((known.parent,), retries=0, read_timeout=0.3).registry
        with pytest.raises((UnreachableError, IntegrityError)):
            client.get(parse_reference(f"{server.address}/a:1"))
        assert server.requests
        return server.sent

    yield ask
    for server in servers:
        server.stop()


@pytest.mark.parametrize(
    "talk",
    [pytest.param(talk, id=talk.__name__.strip("_")) for talk in (_continuations, _trailers, _pushes)]
    + [pytest.param(talk, id=talk.__name__.strip("_"), marks=pytest.mark.costly) for talk in TALKS],
)
def test_frames_of_http2(frames: Callable[[Callable[[Stream], None]], int], talk: Callable[[Stream], None]) -> None:
    assert frames(talk) < UNDER_WAY


@pytest.mark.costly
def test_frames_of_http2_by_chance(
    frames: Callable[[Callable[[Stream], None]], int], count: Callable[[int, int], int]
) -> None:
    """Of any kind, with any flags, before and behind the head."""
    chance = random.Random(20)

    def talk(stream: Stream) -> None:
        if chance.random() < 0.7:
            stream.head(200)
        for _ in range(20):
            payload = chance.randbytes(chance.choice((0, 1, 4, 5, 6, 8, 40)))
            number = chance.choice((0, 1, 1, 1, 2, 3, 1 << 31))
            stream.raw(
                _frame(chance.choice((*range(11), 200)), chance.choice((0, 1, 4, 5, 8, 0x20, 255)), payload, number)
            )

    for _ in range(count(5, 100)):
        frames(talk)
