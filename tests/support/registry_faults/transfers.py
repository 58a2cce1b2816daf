"""Blobs that do not come as they should, and HTTP that is none."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Callable, Iterator

from support.registry_faults.case import (
    LAYER_BYTES,
    MANIFEST,
    MANIFEST_DOCUMENT,
    blob,
    case_of,
    chunked,
    cut,
    dripping,
    encoded,
    first,
    on,
    refusal,
    stalled,
)
from support.registry_faults.server import Answer, Raw, Reply, Request, Wire, for_ever, raw

ROOT = encoded(MANIFEST_DOCUMENT)
OK = b"HTTP/1.1 200 OK\r\n"
TYPED = OK + b"Content-Type: " + MANIFEST.encode() + b"\r\n"
_LAYER_HEAD = OK + b"Content-Length: %d\r\n" % len(LAYER_BYTES)


def _bit(data: bytes) -> bytes:
    return data[:-1] + bytes([data[-1] ^ 1])


def _slow(request: Request, reply: Reply, data: bytes) -> Answer:
    def send(wire: Wire) -> Iterator[bytes]:
        yield reply.head()
        for start in range(0, len(reply.body), 600):
            wire.pause(0.1)
            yield reply.body[start : start + 600]

    return Raw(send)


def _packed(body: bytes, encoding: str = "gzip") -> Reply:
    return Reply(200, {"Content-Type": MANIFEST, "Content-Encoding": encoding}, body)


def _ranged(first_byte: int, shift: int = 0, total: int | None = None) -> Callable[[Request, Reply, bytes], Answer]:
    """After a cut: what is said and what comes of the rest lies `shift` bytes off."""

    def change(request: Request, reply: Reply, data: bytes) -> Answer:
        if request.offset == 0:
            return cut(reply, 1000)
        start = request.offset + shift
        whole = len(data) if total is None else total
        said = {"Content-Range": f"bytes {start + first_byte}-{len(data) - 1}/{whole}"}
        return Reply(206, said, data[start:])

    return change


def _range_ignored(request: Request, reply: Reply, data: bytes) -> Answer:
    return Reply(200, {}, data) if request.offset else cut(reply, 1000)


def _never_satisfied(request: Request, reply: Reply, data: bytes) -> Answer:
    return Reply(416, {"Content-Range": "bytes */5"}) if request.offset else cut(reply, 1000)


def _a_byte_each(request: Request, reply: Reply, data: bytes) -> Answer:
    return cut(reply, 1)


def _only_stalls(request: Request, reply: Reply, data: bytes) -> Answer:
    return stalled(reply.head() + reply.body[:100])


def _only_drips(request: Request, reply: Reply, data: bytes) -> Answer:
    return dripping(reply.head(), b"x")


def _endless_packed(level: int) -> Iterator[bytes]:
    """A gzip stream of zeros without end."""
    packer = zlib.compressobj(level, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    zeros = bytes(1 << 20)
    while True:
        if part := packer.compress(zeros):
            yield part


def _nothing_packed() -> Iterator[bytes]:
    """Blocks of gzip without anything in them, for ever."""
    packer = zlib.compressobj(0, zlib.DEFLATED, zlib.MAX_WBITS | 16)
    yield packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH)
    yield from for_ever(b"\x00\x00\x00\xff\xff" * 5000)


def _reset(wire: Wire) -> Iterator[bytes]:
    wire.reset()
    yield b""


def _frame(kind: int, payload: bytes = b"", stream: int = 0) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes([kind, 0]) + stream.to_bytes(4, "big") + payload


_BOMB = gzip.compress(ROOT + b" " * (16 << 20), 9)

TRANSFERS = [
    case_of("blob-other-bytes", "sends a layer with one bit turned over", 7, "was promised",
            blob(lambda request, reply, data: Reply(200, {}, _bit(data)))),
    case_of("blob-longer", "sends a layer of a byte more than promised", 7, "more than the",
            blob(lambda request, reply, data: Reply(200, {}, data + b"x"))),
    case_of("blob-shorter", "sends a layer of a byte less than promised", 6, "broke off",
            blob(lambda request, reply, data: Reply(200, {}, data[:-1]) if not request.offset else Reply(200))),
    case_of("blob-missing", "has no layer for its manifest", 3, "has no blob",
            blob(lambda *_: refusal(404, "BLOB_UNKNOWN", "unknown"))),
    case_of("blob-refused", "refuses the layer of a public manifest", 5, "refuses the blob",
            blob(lambda *_: refusal(403, "DENIED", "no"))),
    case_of("blob-error", "answers 500 for a layer, always", 6, "answered 500", blob(lambda *_: Reply(500))),
    case_of("blob-page", "sends a page with 200 as a layer", 7, "more than|was promised|broke off",
            blob(lambda *_: Reply(200, {"Content-Type": "text/html"}, b"<html>" + b"x" * 5000))),
    case_of("blob-endless", "sends a layer without end, in chunks", 7, "more than the",
            blob(lambda *_: chunked(OK, for_ever(b"x" * 65536)))),
    case_of("blob-endless-until-closed", "sends a layer without end, in HTTP/1.0", 7, "more than the",
            blob(lambda *_: Raw(lambda wire: (part for parts in ([b"HTTP/1.0 200 OK\r\n\r\n"], for_ever(b"x" * 65536))
                                              for part in parts)))),
    case_of("blob-cut", "cuts each connection in the middle of a layer, without ranges", 6, "broke off",
            blob(lambda request, reply, data: cut(Reply(200, {}, data), 1000))),
    case_of("blob-reset", "resets each connection in the middle of a layer", 6, "broke off",
            blob(lambda request, reply, data: cut(Reply(200, {}, data), 1000, reset=True))),
    case_of("blob-resumed", "cuts the first connection, and knows ranges", 0, "",
            blob(lambda request, reply, data: reply if request.offset else cut(reply, 1000))),
    case_of("blob-a-byte-each", "sends one byte a connection", 6, "broke off", blob(_a_byte_each)),
    case_of("blob-stalls", "stops in the middle of a layer", 6, "time limit|broke off", blob(_only_stalls)),
    case_of("blob-drips", "sends a byte of a layer now and then", 6, "time limit|broke off", blob(_only_drips)),
    case_of("blob-slow", "sends a layer slowly", 0, "", blob(_slow)),
    case_of("blob-two-lengths", "states two lengths of a layer", 6, "broke off|does not speak HTTP",
            blob(lambda request, reply, data: raw(_LAYER_HEAD + b"Content-Length: 5\r\n\r\n" + data))),
    case_of("blob-short-length", "states a length that is shorter than the layer, and sends all", 6, "broke off",
            blob(lambda request, reply, data: raw(OK + b"Content-Length: 500\r\n\r\n" + data)
                 if not request.offset else Reply(416))),
    case_of("blob-length-and-chunks", "states a length and sends a longer layer in chunks", 7, "more than the",
            blob(lambda *_: chunked(_LAYER_HEAD, for_ever(b"x" * 65536)))),
    case_of("blob-bad-chunk", "sends chunks of the size `zzz`", 6, "broke off",
            blob(lambda *_: raw(OK + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\nabc"))),
    case_of("blob-huge-chunk", "announces a chunk of 2^76 bytes", 6, "broke off",
            blob(lambda *_: raw(OK + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\nabc"))),
    case_of("blob-negative-chunk", "announces a chunk of -1 bytes", 6, "broke off",
            blob(lambda *_: raw(OK + b"Transfer-Encoding: chunked\r\n\r\n-1\r\nabc"))),
    case_of("blob-endless-extension", "sends a chunk's extension without end", 6, "broke off|says nothing",
            blob(lambda *_: Raw(lambda wire: (part for parts in ([OK + b"Transfer-Encoding: chunked\r\n\r\n1;"],
                                                                 for_ever(b"x" * 65536)) for part in parts)))),
    case_of("blob-endless-trailer", "sends trailers without end", 6, "broke off|says nothing",
            blob(lambda request, reply, data: Raw(lambda wire: (
                part for parts in ([OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n"], for_ever(b"X: y\r\n" * 5000))
                for part in parts)))),
    case_of("blob-packed-again", "packs a layer once more, as a content encoding", 7, "more than|was promised|broke",
            blob(lambda request, reply, data: Reply(200, {"Content-Encoding": "gzip"}, gzip.compress(data)))),
    case_of("range-ignored", "sends all where a part was asked for", 0, "", blob(_range_ignored)),
    case_of("range-shifted", "sends bytes from before the place that it states", 7, "more than the",
            blob(_ranged(7, -7))),
    case_of("range-elsewhere", "sends another part than was asked for", 6, "broke off",
            blob(_ranged(0, 5))),
    case_of("range-other-total", "states another size of the whole", 6, "broke off",
            blob(_ranged(0, 0, 5))),
    case_of("range-never", "calls no part of a layer satisfiable", 6, "broke off", blob(_never_satisfied)),
    case_of("range-unasked", "sends 206 without saying which part", 7, "something else than blob",
            blob(lambda request, reply, data: Reply(206, {}, data))),
    case_of("range-absurd", "sends a range of 10^17 bytes", 7, "something else than blob",
            blob(lambda request, reply, data: Reply(206, {"Content-Range": "bytes 0-99999999999999999/*"}, data))),
    case_of("http-nothing", "closes each connection at once", 6, "broke off", on("manifests", raw())),
    case_of("http-reset", "resets each connection", 6, "reset|broke", on("manifests", Raw(_reset))),
    case_of("http-silence", "takes a request and says nothing", 6, "time limit", on("manifests", stalled(b""))),
    case_of("http-garbage", "answers something that is no HTTP", 6, "does not speak HTTP",
            on("manifests", raw(b"\x00\x01\x02 hello\r\n\r\n"))),
    case_of("http-ssh", "answers as an SSH server", 6, "does not speak HTTP",
            on("manifests", raw(b"SSH-2.0-OpenSSH_9.2\r\n"))),
    case_of("http-0.9", "answers in HTTP/0.9", 6, "does not speak HTTP", on("manifests", raw(ROOT))),
    case_of("http-1.0", "answers in HTTP/1.0, to the end of the connection", 0, "",
            on("manifests", raw(b"HTTP/1.0 200 OK\r\nContent-Type: " + MANIFEST.encode() + b"\r\n\r\n" + ROOT))),
    case_of("http-2", "insists on HTTP/2", 6, "does not speak HTTP",
            on("manifests", raw(_frame(4), _frame(7, bytes(7) + b"\x0d")))),
    case_of("http-3-status", "answers `HTTP/3.0 200` and nothing more", 7, "not JSON",
            on("manifests", raw(b"HTTP/3.0 200 OK\r\nContent-Length: 0\r\n\r\n"))),
    case_of("status-99", "answers with the status 99", 6, "does not speak HTTP",
            on("manifests", raw(b"HTTP/1.1 99 Odd\r\n\r\n"))),
    case_of("status-999", "answers with the status 999", 6, "answered 999|does not speak HTTP",
            on("manifests", Reply(999))),
    case_of("status-204", "answers 204 for a manifest", 6, "answered 204",
            on("manifests", raw(b"HTTP/1.1 204 No Content\r\n\r\n"))),
    case_of("status-206", "answers 206 for a manifest", 6, "answered 206", on("manifests", Reply(206, {}, ROOT[:10]))),
    case_of("status-304", "answers 304 for a manifest", 6, "answered 304",
            on("manifests", raw(b"HTTP/1.1 304 Not Modified\r\n\r\n"))),
    case_of("status-100-flood", "answers 100 Continue for ever", 6, "says nothing",
            on("manifests", Raw(lambda wire: for_ever(b"HTTP/1.1 100 Continue\r\n\r\n" * 500)))),
    case_of("status-101", "switches to another protocol", 6, "",
            on("manifests", raw(b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n"))),
    case_of("head-flood", "sends header fields without end", 6, "broke off|more than",
            on("manifests", Raw(lambda wire: (part for parts in ([OK], for_ever(b"X: y\r\n" * 5000))
                                              for part in parts)))),
    case_of("head-long", "sends a header field without end", 6, "broke off|more than",
            on("manifests", Raw(lambda wire: (part for parts in ([OK + b"X: "], for_ever(b"y" * 65536))
                                              for part in parts)))),
    case_of("head-large", "sends 80 KiB of header fields", 6, "broke off|more than",
            on("manifests", raw(TYPED + b"X: y\r\n" * 14000 + b"Content-Length: %d\r\n\r\n" % len(ROOT) + ROOT))),
    case_of("head-drips", "sends its head a byte at a time", 6, "time limit", on("manifests", dripping(OK, b"X"))),
    case_of("head-control", "sends a NUL in a header field", 6, "broke off|does not speak",
            on("manifests", raw(TYPED + b"X: a\x00b\r\nContent-Length: 0\r\n\r\n"))),
    case_of("length-negative", "states a length of -1", 6, "broke off|does not speak",
            on("manifests", raw(TYPED + b"Content-Length: -1\r\n\r\n" + ROOT))),
    case_of("length-digits", "states a length of 5,000 digits", 6, "broke off|does not speak",
            on("manifests", raw(TYPED + b"Content-Length: " + b"0" * 5000 + b"\r\n\r\n" + ROOT))),
    case_of("length-more", "states a longer manifest than comes", 6, "broke off",
            on("manifests", raw(TYPED + b"Content-Length: 100000\r\n\r\n" + ROOT))),
    case_of("document-stalls", "stops in the middle of a manifest", 6, "time limit",
            on("manifests", stalled(TYPED + b"Content-Length: %d\r\n\r\n" % len(ROOT) + ROOT[:50]))),
    case_of("document-drips", "sends spaces behind a manifest, one now and then, for ever", 6, "time limit",
            on("manifests", dripping(TYPED + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\n \r\n"))),
    case_of("document-cut-once", "cuts the first connection in the middle of a manifest", 0, "",
            first("manifests", raw(TYPED + b"Content-Length: %d\r\n\r\n" % len(ROOT) + ROOT[:50]))),
    case_of("gzip-honest", "packs a manifest, as a content encoding", 0, "",
            on("manifests", _packed(gzip.compress(ROOT)))),
    case_of("gzip-bomb", "packs a manifest of 16 MiB into 16 KiB", 7, "more than 4194304 bytes",
            on("manifests", _packed(_BOMB))),
    case_of("gzip-endless", "sends a bomb without end", 7, "more than 4194304 bytes",
            on("manifests", chunked(TYPED + b"Content-Encoding: gzip\r\n", _endless_packed(9)))),
    case_of("gzip-nothing", "sends blocks of gzip with nothing in them, for ever", 7, "much gzip with little in it",
            on("manifests", chunked(TYPED + b"Content-Encoding: gzip\r\n", _nothing_packed()))),
    case_of("gzip-more-behind", "sends bytes without end behind the end of a gzip stream", 7, "something behind",
            on("manifests", chunked(TYPED + b"Content-Encoding: gzip\r\n",
                                    (part for parts in ([gzip.compress(ROOT)], for_ever(b"x" * 65536))
                                     for part in parts)))),
    case_of("gzip-cut", "sends half a gzip stream", 7, "has no end",
            on("manifests", _packed(gzip.compress(ROOT)[:-9]))),
    case_of("gzip-lie", "calls a plain manifest gzip", 7, "is not gzip", on("manifests", _packed(ROOT))),
    case_of("deflate-bomb", "packs a manifest of 16 MiB with deflate", 7, "more than 4194304 bytes",
            on("manifests", _packed(zlib.compress(ROOT + b" " * (16 << 20), 9), "deflate"))),
    case_of("gzip-of-gzip", "packs a bomb twice", 7, "which was not asked for",
            on("manifests", _packed(gzip.compress(_BOMB), "gzip, gzip"))),
    case_of("encoding-unknown", "packs a manifest with brotli", 7, "which was not asked for",
            on("manifests", _packed(ROOT, "br"))),
]  # fmt: skip
