"""HTTP on loopback for engines that pull: documents and blobs by digest, ranges, and nothing that lists.

Python's own HTTP server is enough for that, so nothing has to be installed: a thread a connection, and the kernel sends
the files. No path is ever logged.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import select
import socket
import threading
from collections.abc import Callable
from functools import partial
from http.server import BaseHTTPRequestHandler
from socketserver import TCPServer, ThreadingMixIn
from typing import BinaryIO, Protocol

from polyarch.files import disk_error
from polyarch.oci.digest import Digest
from polyarch.serve.address import LOOPBACK
from polyarch.serve.admitted import Admitted
from polyarch.serve.ranges import RangeNotSatisfiable, parse_range

CHUNK = 1 << 20
"""Bytes that the kernel is asked to send at once; none of them is in this process's memory."""

_PATH = re.compile(r"/v2/(?P<path>[^/?]+/[^/?]+)(?:/[^?]*)?/(?P<kind>manifests|blobs)/(?P<target>[^/?]+)(?:\?.*)?")
_NO_SENDFILE = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_BLOB = "application/octet-stream"


class Limit(Protocol):
    """How fast bytes may go out, over all answers."""

    @property
    def piece(self) -> int:
        """How many bytes are best taken at once."""

    def take(self, count: int) -> None:
        """Come back when `count` bytes may go."""


class PullServer(ThreadingMixIn, TCPServer):
    """Answers at a port of loopback from `offers`, which may change at any time. Raises OSError: it cannot listen."""

    daemon_threads = True
    block_on_close = False  # a connection that nothing is asked on any more holds nobody back
    request_queue_size = 1024  # a whole wave comes at once

    def __init__(self, offers: dict[str, Admitted], limit: Limit | None) -> None:
        self.offers, self.limit = offers, limit
        self._lock = threading.Lock()
        self._connections: set[socket.socket] = set()
        self._ended = False
        super().__init__((LOOPBACK, 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: who goes away in the midst of an answer tells why."""

    def add(self, connection: socket.socket) -> None:
        """Somebody has come."""
        with self._lock:
            self._connections.add(connection)
            if self._ended:
                _cut(connection)

    def bind(self, connection: socket.socket, old: Admitted | None, new: Admitted | None) -> None:
        """The connection asks for `new` from now on, no longer for `old`."""
        with self._lock:
            if old is not None:
                old.connections.discard(connection)
            if new is not None:
                new.connections.add(connection)

    def remove(self, connection: socket.socket, offer: Admitted | None) -> None:
        """The connection is about to be closed."""
        self.bind(connection, offer, None)
        with self._lock:
            self._connections.discard(connection)

    # Both cut under the lock: a connection is closed only after it was taken out, so no other can have its number.

    def cut(self, offer: Admitted) -> None:
        """End what is answered from `offer`, for ever."""
        with self._lock:
            offer.empty()
            for connection in offer.connections:
                _cut(connection)

    def cut_all(self) -> None:
        """End every answer."""
        with self._lock:
            self._ended = True
            for connection in self._connections:
                _cut(connection)


def _cut(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other side was faster
        connection.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """OCI distribution-spec 1.1, "Pull": end-1 to end-3; RFC 9110, 14, for ranges."""

    protocol_version = "HTTP/1.1"
    default_request_version = "HTTP/1.0"  # whoever tries TLS first is told by a status line that this is none
    server_version, sys_version = "polyarch", ""
    timeout = 300
    disable_nagle_algorithm = True  # or a short document waits for the other side to acknowledge its header
    server: PullServer
    _offer: Admitted | None = None

    def setup(self) -> None:
        """A connection begins."""
        super().setup()
        self.server.add(self.connection)

    def finish(self) -> None:
        """A connection ends."""
        self.server.remove(self.connection, self._offer)
        super().finish()

    def do_GET(self) -> None:
        """Answer with the document or the blob."""
        if self.path == "/v2/":
            self._answer(200, b"{}")
            return
        match = _PATH.fullmatch(self.path)
        offer = self.server.offers.get(match["path"]) if match else None
        if match is None or offer is None:
            self._refuse(404, "NAME_UNKNOWN")
            return
        offer.asked = True
        if offer is not self._offer:
            self.server.bind(self.connection, self._offer, offer)
            self._offer = offer
        if match["kind"] == "manifests":
            self._send_document(offer, match["target"])
        else:
            self._send_blob(offer, match["target"])

    do_HEAD = do_GET

    def _send_document(self, offer: Admitted, target: str) -> None:
        document = offer.document(target)
        if document is None:
            self._refuse(404, "MANIFEST_UNKNOWN")
            return
        digest = target if ":" in target else document.digest
        self._head(200, document.media_type, len(document.raw), {"Docker-Content-Digest": digest})
        self._write(document.raw, offer)

    def _send_blob(self, offer: Admitted, digest: Digest) -> None:
        headers = {"Docker-Content-Digest": digest}
        config = offer.configs.get(digest)
        if config is not None:
            self._head(200, _BLOB, len(config), headers)
            self._write(config, offer)
            return
        file = offer.opened(digest)
        if file is None:
            self._refuse(404, "BLOB_UNKNOWN")  # not 500: engines would ask again and again
            return
        with file:
            size = os.fstat(file.fileno()).st_size
            headers |= {"ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
            wanted = None
            if self.command == "GET" and self.headers.get("If-Range", headers["ETag"]) == headers["ETag"]:
                try:
                    wanted = parse_range(self.headers.get("Range"), size)
                except RangeNotSatisfiable:
                    self._refuse(416, "RANGE_INVALID", {"Content-Range": f"bytes */{size}"})
                    return
            first, length = wanted or (0, size)
            if wanted:
                headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{size}"
            self._head(206 if wanted else 200, _BLOB, length, headers)
            if self.command == "GET":
                self._stream(offer, file, first, length)

    def _stream(self, offer: Admitted, file: BinaryIO, first: int, length: int) -> None:
        """Send a part of the file. What breaks ends the connection."""
        limit, end = self.server.limit, first + length
        piece = limit.piece if limit else CHUNK
        while first < end:
            if limit is not None:
                limit.take(min(piece, end - first))
            upto = min(first + piece, end)
            while first < upto:
                try:
                    count = self._send_some(offer, partial(self._send_file, file, first, upto - first))
                    if not count:
                        raise OSError(errno.ENODATA, "it became shorter")
                except (ConnectionError, TimeoutError):
                    raise
                except OSError as error:
                    offer.fault = disk_error(error, f"cannot read {file.name}")
                    raise
                first += count

    def _send_file(self, file: BinaryIO, first: int, count: int) -> int:
        """Send at most `count` bytes; how many went. A file system that has no sendfile(2) is read."""
        try:
            return os.sendfile(self.connection.fileno(), file.fileno(), first, count)
        except OSError as error:
            if error.errno not in _NO_SENDFILE:
                raise
        return int(self.connection.send(os.pread(file.fileno(), min(count, 1 << 18), first)))

    def _send_some(self, offer: Admitted, send: Callable[[], int]) -> int:
        """Send something once there is room for it; how many bytes went, which are counted."""
        poll = select.poll()
        poll.register(self.connection, select.POLLOUT)
        while True:
            if not poll.poll(self.timeout * 1000):
                raise TimeoutError("nobody reads the answer")
            with contextlib.suppress(BlockingIOError):
                return offer.counted(send)

    def _write(self, body: bytes, offer: Admitted) -> None:
        """Send a document, if one was asked for."""
        rest = memoryview(body) if self.command == "GET" else memoryview(b"")
        limit = self.server.limit
        while rest:
            piece = rest[: limit.piece] if limit else rest
            if limit is not None:
                limit.take(len(piece))
            while piece:
                count = self._send_some(offer, partial(self.connection.send, piece))
                piece, rest = piece[count:], rest[count:]

    def _refuse(self, status: int, code: str, headers: dict[str, str] | None = None) -> None:
        self._answer(status, b'{"errors":[{"code":"%b"}]}' % code.encode(), headers)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        """Send what is of no image."""
        self._head(status, "application/json", len(body), headers)
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, media_type: str, size: int, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(size))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on the terminal."""
