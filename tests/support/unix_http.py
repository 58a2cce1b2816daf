"""An HTTP server on a unix socket that answers as a test says: what real engines do not show on demand."""

from __future__ import annotations

import contextlib
import socketserver
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """A request with its body, which came in `pieces` if it was chunked (RFC 9112, 7.1)."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    pieces: int | None


@dataclass(frozen=True)
class Said:
    """An answer. With `cut` its connection ends before the body is as long as was said."""

    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@contextmanager
def unix_http(path: Path, answer: Callable[[Asked], Said], early: int | None = None) -> Iterator[list[Asked]]:
    """A server at `path` while the body runs; the requests that it got.

    With `early` it answers, and closes the connection, when it has read so many bytes of a request's body.
    """
    asked: list[Asked] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_one_request(self) -> None:
            with contextlib.suppress(ConnectionError):
                super().handle_one_request()

        def _answer(self) -> None:
            body, pieces = self._body()
            asked.append(Asked(self.command, self.path, dict(self.headers), body, pieces))
            said = answer(asked[-1])
            self.send_response(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(said.body) + said.cut))
            self.end_headers()
            self.wfile.write(said.body)
            self.close_connection = said.cut or early is not None

        do_GET = do_POST = do_DELETE = _answer

        def _body(self) -> tuple[bytes, int | None]:
            if self.headers.get("Transfer-Encoding") != "chunked":
                return self.rfile.read(int(self.headers.get("Content-Length", 0))), None
            body, pieces = b"", 0
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
                pieces += 1
                if early is not None and len(body) >= early:
                    return body, pieces
            self.rfile.readline()
            return body, pieces

        def address_string(self) -> str:
            return "client"

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
        daemon_threads = True
        block_on_close = False

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients go away as they like."""

    with Server(str(path), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield asked
        finally:
            server.shutdown()
            thread.join()
