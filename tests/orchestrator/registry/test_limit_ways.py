"""No limit is passed by another way of sending: each limit, by each way. Bodies have no end; who reads on, stays."""

from __future__ import annotations

import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from polyarch.errors import IntegrityError, NotFoundError, PolyarchError, UnreachableError
from polyarch.limits import MAX_HEAD, MAX_LISTED_REFERRERS, MAX_REDIRECTS
from polyarch.oci.digest import digest_of
from polyarch.oci.document import Manifest, parse_document
from polyarch.reference import Reference, parse_reference
from polyarch.registry import transport
from polyarch.resolution.documents import Documents
from support.http2_server import Http2Server, Stream
from support.registry_client import Connect, Connected
from support.registry_faults.case import INDEX, MANIFEST, MANIFEST_DOCUMENT, chunked, descriptor, encoded, index_of
from support.registry_faults.server import Answer, FaultServer, Raw, Reply, Request, Wire, for_ever, raw

DIGEST = digest_of(b"x")
BLOCK = b" " * 65536
# What may be under way in the sockets' buffers when the client goes.
UNDER_WAY = 12 << 20


@dataclass(frozen=True)
class Asked:
    """What is limited: how it is asked for, the kind of request that is answered badly, and how it ends."""

    ask: Callable[[Connected, Reference], object]
    kind: str
    says: str
    error: type[PolyarchError] = IntegrityError
    limit: int = 4 << 20
    status: int = 200


def _costly(value: object) -> object:
    return pytest.param(value, marks=pytest.mark.costly)


def _config(connected: Connected, reference: Reference) -> object:
    document = parse_document(encoded(MANIFEST_DOCUMENT), MANIFEST)
    assert isinstance(document, Manifest)
    return Documents(connected.registry).config(reference, document)


def _referrers(connected: Connected, reference: Reference) -> object:
    return list(connected.registry.referrers(reference.with_digest(DIGEST)))


LIMITS = {
    "manifest": Asked(lambda connected, name: connected.registry.get(name), "manifests", "more than 4194304 bytes"),
    "manifest-by-digest": Asked(
        lambda connected, name: connected.registry.get(name.with_digest(DIGEST)), "manifests", "more than 4194304 bytes"
    ),
    "config": Asked(_config, "blobs", "bytes were promised"),
    "token": Asked(
        lambda connected, name: connected.registry.get(name),
        "token",
        "more than 65536 bytes",
        UnreachableError,
        64 << 10,
    ),
    "refusal": Asked(
        lambda connected, name: connected.registry.get(name), "manifests", "has no tag", NotFoundError, 64 << 10, 404
    ),
    "tags": Asked(lambda connected, name: list(connected.registry.tags(name)), "tags", "more than 4194304 bytes"),
    "repositories": Asked(
        lambda connected, name: list(connected.registry.repositories(name.registry)),
        "catalog",
        "more than 4194304 bytes",
    ),
    "referrers": Asked(_referrers, "referrers", "more than 4194304 bytes"),
}


def _packed(make: Callable[[], zlib._Compress]) -> Iterator[bytes]:
    packer = make()
    while True:
        yield packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_SYNC_FLUSH)


def _until_closed(head: bytes, parts: Iterator[bytes]) -> Raw:
    def send(wire: Wire) -> Iterator[bytes]:
        yield head
        yield from parts

    return Raw(send)


def _head(status: int, *fields: bytes, version: bytes = b"1.1") -> bytes:
    return b"".join(line + b"\r\n" for line in (b"HTTP/%b %d X" % (version, status), *fields))


WAYS: dict[str, Callable[[int], Raw]] = {
    "length": lambda status: _until_closed(_head(status, b"Content-Length: 999999999999", b""), for_ever(BLOCK)),
    "chunks": lambda status: chunked(_head(status), for_ever(BLOCK)),
    "length-and-chunks": lambda status: chunked(_head(status, b"Content-Length: 5"), for_ever(BLOCK)),
    "until-closed": lambda status: _until_closed(_head(status, b"", version=b"1.0"), for_ever(BLOCK)),
    "gzip": lambda status: chunked(
        _head(status, b"Content-Encoding: gzip"),
        _packed(lambda: zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)),
    ),
    "deflate": lambda status: chunked(
        _head(status, b"Content-Encoding: deflate"), _packed(lambda: zlib.compressobj(9))
    ),
    "stored-gzip": lambda status: chunked(
        _head(status, b"Content-Encoding: x-gzip"),
        _packed(lambda: zlib.compressobj(0, zlib.DEFLATED, zlib.MAX_WBITS | 16)),
    ),
}


@pytest.fixture
def serve() -> Iterator[Callable[[Callable[[Request], Answer]], FaultServer]]:
    """What answers each request -> the running server."""
    servers: list[FaultServer] = []

    def make(answer: Callable[[Request], Answer]) -> FaultServer:
        servers.append(FaultServer(answer, most=1 << 30))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


Serve = Callable[[Callable[[Request], Answer]], FaultServer]


@pytest.mark.parametrize("redirected", [False, pytest.param(True, marks=pytest.mark.costly)], ids=["", "redirected"])
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("limit", LIMITS)
def test_a_body_without_end(connect: Connect, serve: Serve, limit: str, way: str, redirected: bool) -> None:
    asked = LIMITS[limit]

    def answer(request: Request) -> Answer:
        if request.kind != asked.kind:
            if asked.kind == "token":
                realm = f'Bearer realm="http://{request.host}/token/a/t"'
                return Reply(401, {"WWW-Authenticate": realm})
            return Reply(404)
        if redirected and request.host != request.elsewhere:
            return Reply(307, {"Location": f"http://{request.elsewhere}{request.url}"})
        return WAYS[way](asked.status)

    server = serve(answer)
    with pytest.raises(asked.error, match=f"{asked.says}|with little in it"):
        asked.ask(connect(retries=0), parse_reference(f"{server.address}/a:1"))
    assert server.taken < asked.limit + UNDER_WAY


@pytest.mark.parametrize(
    "field", [b"X: %b\r\n" % (b"y" * 200), b"Link: <x>; rel=y\r\n", b"\r\n y\r\n"], ids=["long", "many", "folded"]
)
@pytest.mark.parametrize(
    "before",
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 404 No\r\n", b"HTTP/1.1 401 No\r\n", b"HTTP/1.1 103 Hints\r\n"],
    ids=["200", "404", "401", "103"],
)
@pytest.mark.parametrize("limit", ["manifest", *(_costly(limit) for limit in ("config", "token", "tags", "referrers"))])
def test_a_head_without_end(connect: Connect, serve: Serve, limit: str, before: bytes, field: bytes) -> None:
    asked = LIMITS[limit]

    def answer(request: Request) -> Answer:
        if asked.kind == "token" and request.kind == "manifests":
            return Reply(401, {"WWW-Authenticate": f'Bearer realm="http://{request.host}/token/a/t"'})
        return _until_closed(before + b"X: y", for_ever((b"\r\n" + field.strip(b"\r\n")) * 100))

    server = serve(answer)
    with pytest.raises(UnreachableError):
        asked.ask(connect(retries=0), parse_reference(f"{server.address}/a:1"))
    assert server.taken < MAX_HEAD + UNDER_WAY


@pytest.mark.parametrize("status", [302, 307, *(_costly(status) for status in (301, 303, 308))])
@pytest.mark.parametrize("limit", LIMITS)
def test_redirects_without_end(connect: Connect, serve: Serve, limit: str, status: int) -> None:
    """To the same place, to ever new ones, and from one host to the other and back."""
    asked, seen = LIMITS[limit], []

    def answer(request: Request) -> Answer:
        if asked.kind == "token" and request.kind == "manifests":
            return Reply(401, {"WWW-Authenticate": f'Bearer realm="http://{request.host}/token/a/t"'})
        seen.append(request.url)
        host = request.elsewhere if len(seen) % 2 else server.address
        return Reply(status, {"Location": f"http://{host}/{request.kind}/a/{len(seen)}"})

    server = serve(answer)
    with pytest.raises(UnreachableError, match=f"more than {MAX_REDIRECTS} redirects"):
        asked.ask(connect(retries=0), parse_reference(f"{server.address}/a:1"))
    assert len(seen) == MAX_REDIRECTS + 1


@pytest.mark.parametrize("way", ["plain", "gzip", "chunks"])
@pytest.mark.parametrize("limit", ["manifest", "token", "refusal", "tags", "referrers"])
def test_json_that_nests_without_end(connect: Connect, serve: Serve, limit: str, way: str) -> None:
    asked, body = LIMITS[limit], b'{"errors":' + b"[" * 60_000

    def answer(request: Request) -> Answer:
        if asked.kind == "token" and request.kind == "manifests":
            return Reply(401, {"WWW-Authenticate": f'Bearer realm="http://{request.host}/token/a/t"'})
        if way == "gzip":
            return Reply(asked.status, {"Content-Encoding": "gzip"}, gzip.compress(body))
        return chunked(_head(asked.status), [body]) if way == "chunks" else Reply(asked.status, {}, body)

    says = "has no tag" if limit == "refusal" else "nests deeper than 64"
    with pytest.raises(asked.error, match=says):
        asked.ask(connect(retries=0), parse_reference(f"{serve(answer).address}/a:1"))


@pytest.mark.parametrize("entries", [1000, 0])
def test_referrers_without_end(connect: Connect, serve: Serve, entries: int) -> None:
    """Ever new pages, full or empty."""
    seen: list[str] = []

    def answer(request: Request) -> Answer:
        seen.append(request.url)
        listed = [descriptor(b"%d %d" % (len(seen), number), MANIFEST) for number in range(entries)]
        path = request.url.partition("?")[0]
        headers = {"Content-Type": INDEX, "Link": f'<{path}?page={len(seen)}>; rel="next"'}
        return Reply(200, headers, index_of(listed))

    with pytest.raises(IntegrityError, match=f"lists more than {MAX_LISTED_REFERRERS}, or pages without any"):
        _referrers(connect(retries=0), parse_reference(f"{serve(answer).address}/a:1"))
    assert len(seen) < 20


# HTTP/2


@pytest.fixture
def http2(tmp_path: Path) -> Iterator[Callable[[Callable[[Stream], None]], Http2Server]]:
    servers: list[Http2Server] = []

    def make(answer: Callable[[Stream], None]) -> Http2Server:
        servers.append(Http2Server(tmp_path, answer))
        return servers[-1]

    yield make
    for server in servers:
        server.stop()


ServeHttp2 = Callable[[Callable[[Stream], None]], Http2Server]


@pytest.mark.parametrize("encoding", ["", _costly("gzip")])
@pytest.mark.parametrize("limit", [limit for limit in LIMITS if limit != "config"])
def test_a_body_without_end_over_http2(connect: Connect, http2: ServeHttp2, limit: str, encoding: str) -> None:
    """A config is a blob, and blobs never come over HTTP/2."""
    asked = LIMITS[limit]
    kind = {"referrers": "/referrers/", "tags": "/tags/", "catalog": "/_catalog", "token": "/token"}
    wanted = kind.get(asked.kind, "/manifests/")

    def answer(stream: Stream) -> None:
        if wanted not in stream.path:
            realm = f'Bearer realm="https://{server.address}/token"'
            stream.head(401 if asked.kind == "token" else 404, [("www-authenticate", realm)], end=True)
            return
        stream.head(asked.status, [("content-encoding", encoding)] if encoding else [])
        parts = (
            _packed(lambda: zlib.compressobj(9, zlib.DEFLATED, zlib.MAX_WBITS | 16)) if encoding else for_ever(BLOCK)
        )
        for part in parts:
            stream.data(part)

    server = http2(answer)
    with pytest.raises(asked.error, match=asked.says):
        asked.ask(connect(retries=0), parse_reference(f"{server.address}/a:1"))
    assert server.requests
    assert server.sent < asked.limit + UNDER_WAY


def _known(server: Http2Server, folder: Path) -> Path:
    """A folder as /etc/docker/certs.d with the server's certificate, so that nobody tries plain HTTP first."""
    known = folder / "known" / server.address
    known.mkdir(parents=True)
    (known / "ca.crt").write_bytes(server.certificate.read_bytes())
    return known.parent


def _ping_for_ever(stream: Stream) -> None:
    while True:
        stream.raw((b"\x00\x00\x08\x06" + bytes(5) + b"12345678") * 1000)


def _ping_after_the_head(stream: Stream) -> None:
    stream.head(200)
    _ping_for_ever(stream)


def _large_head(stream: Stream) -> None:
    stream.head(200, [(f"x-{number}", "y" * 1000) for number in range(MAX_HEAD // 1000 + 5)], end=True)


def _small_frames(stream: Stream) -> None:
    """DATA frames with nothing in them."""
    stream.head(200)
    number = 1
    while True:
        stream.raw((b"\x00\x00\x00\x00\x00" + number.to_bytes(4, "big")) * 1000)


def _silent(stream: Stream) -> None:
    threading.Event().wait(5)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (_ping_for_ever, "says nothing"),
        (_ping_after_the_head, "says nothing"),
        (_large_head, "Oversized header block"),
        (_small_frames, "says nothing|broke off"),
        (_silent, "time limit"),
    ],
    ids=["pings", "pings-after-head", "large-head", "empty-frames", "silence"],
)
def test_talk_without_end_over_http2(
    connect: Connect, http2: ServeHttp2, answer: Callable[[Stream], None], says: str, tmp_path: Path
) -> None:
    server = http2(answer)
    client = connect((_known(server, tmp_path),), retries=0, read_timeout=1.0).registry
    with pytest.raises(UnreachableError, match=says):
        client.get(parse_reference(f"{server.address}/a:1"))
    assert server.requests


def test_a_server_that_insists_on_http2(
    connect: Connect, http2: ServeHttp2, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without the library h2 nobody here speaks it."""
    monkeypatch.setattr(transport, "_has_http2", lambda: False)
    server = http2(_silent)
    client = connect((_known(server, tmp_path),), retries=0).registry
    with pytest.raises(UnreachableError, match=r"cannot be reached: .*(closed|alpn|disconnected)"):
        client.get(parse_reference(f"{server.address}/a:1"))
    assert server.requests == []


def test_plain_http2_is_no_http_to_us(connect: Connect, serve: Serve) -> None:
    server = serve(lambda request: raw(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00"))
    with pytest.raises(UnreachableError, match="does not speak HTTP"):
        connect(retries=0).registry.get(parse_reference(f"{server.address}/a:1"))
