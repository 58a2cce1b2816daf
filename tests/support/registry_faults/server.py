"""A registry that answers byte by byte as a case says, however wrong: each case is a repository of one server."""

from __future__ import annotations

import socket
import socketserver
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.client import parse_headers, responses
from urllib.parse import parse_qs, urlsplit


@dataclass(frozen=True, slots=True)
class Request:
    """What came: `/v2/REPOSITORY/KIND/TARGET`; `kind` is "token" for the token server, "api" for `/v2/`.

    `number` counts the requests of its kind for its repository since the case was begun anew, from 1. `host` is the
    address that was asked, `elsewhere` another one with the same content.
    """

    method: str
    url: str
    repository: str
    kind: str
    target: str
    headers: Message
    number: int
    host: str
    elsewhere: str

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.url).query)

    @property
    def offset(self) -> int:
        """Where the range that was asked for begins; 0 without one."""
        return int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as HTTP wants it. `length` is a Content-Length other than the body's."""

    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    length: int | None = None

    def head(self) -> bytes:
        lines = [f"HTTP/1.1 {self.status} {responses.get(self.status, 'Strange')}"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines.append(f"Content-Length: {len(self.body) if self.length is None else self.length}")
        return "\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape")


class Wire:
    """The connection, for answers that take their time."""

    def __init__(self, connection: socket.socket, stopping: threading.Event) -> None:
        self._connection, self._stopping = connection, stopping

    def pause(self, seconds: float) -> None:
        self._stopping.wait(seconds)

    def stall(self) -> None:
        """Nothing more comes, until the client has gone."""
        self._connection.settimeout(0.1)
        while not self._stopping.is_set():
            try:
                if not self._connection.recv(1 << 16):
                    return
            except TimeoutError:
                continue

    def reset(self) -> None:
        """End it as a crash does."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes as they go over the wire; then the connection is closed."""

    parts: Callable[[Wire], Iterable[bytes]]


Answer = Reply | Raw


def raw(*parts: bytes) -> Raw:
    """These bytes."""
    return Raw(lambda wire: parts)


class FaultServer:
    """Runs on 127.0.0.1 and 127.0.0.2. `answer` is asked for each request; `shown` are the Authorization headers that
    came to the second address. An answer without end ends after `most` bytes; `taken` is how much of one was taken.
    """

    def __init__(self, answer: Callable[[Request], Answer], most: int | None = None, *, api: bool = False) -> None:
        """With `api` requests for `/v2/` are answered by `answer`, too."""
        self._answer = answer
        self._api = api
        self.most = most
        self.taken = 0
        self._lock = threading.Lock()
        self._numbers: dict[tuple[str, str], int] = {}
        self.stopping = threading.Event()
        self.shown: list[str | None] = []
        handler = type("Handler", (_Handler,), {"faults": self})
        self._servers = [_Server((host, 0), handler) for host in ("127.0.0.1", "127.0.0.2")]
        self.address, self.elsewhere = ("{}:{}".format(*server.server_address[:2]) for server in self._servers)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def begin(self, repository: str) -> None:
        """Requests of the repository are counted from 1 again."""
        with self._lock:
            self._numbers = {key: number for key, number in self._numbers.items() if key[0] != repository}
            self.shown.clear()
            self.taken = 0

    def take(self, method: str, url: str, headers: Message, host: str) -> Answer:
        path = urlsplit(url).path.strip("/").split("/")
        match path:
            case ["v2"] if self._api:
                repository, kind, target = "", "api", ""
            case ["v2"]:
                return Reply(200, {"Docker-Distribution-Api-Version": "registry/2.0"}, b"{}")
            case ["v2", "_catalog"]:
                repository, kind, target = "", "catalog", ""
            case ["v2", *names, "tags", "list"]:
                repository, kind, target = "/".join(names), "tags", ""
            case ["v2", *names, kind, target]:
                repository = "/".join(names)
            case [kind, *names, target] if names:
                repository = "/".join(names)
            case _:
                return Reply(404)
        with self._lock:
            number = self._numbers[repository, kind] = self._numbers.get((repository, kind), 0) + 1
            if host == self.elsewhere:
                self.shown.append(headers.get("Authorization"))
        return self._answer(Request(method, url, repository, kind, target, headers, number, host, self.elsewhere))

    def stop(self) -> None:
        self.stopping.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64
    block_on_close = False

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients go away in the middle: that is what it is all about."""


class _Handler(socketserver.StreamRequestHandler):
    faults: FaultServer
    disable_nagle_algorithm = True

    def handle(self) -> None:
        while (line := self.rfile.readline(65536)).strip():
            method, url, _ = line.decode("latin-1").split(" ", 2)
            headers = parse_headers(self.rfile)
            self.rfile.read(int(headers.get("Content-Length", 0)))
            host = "{}:{}".format(*self.request.getsockname()[:2])
            answer = self.faults.take(method, url, headers, host)
            if isinstance(answer, Raw):
                self._send(answer)
                return
            self.wfile.write(answer.head() + (b"" if method == "HEAD" else answer.body))
            if answer.length is not None:
                return

    def _send(self, answer: Raw) -> None:
        sent = 0
        for part in answer.parts(Wire(self.request, self.faults.stopping)):
            self.wfile.write(part)
            sent += len(part)
            self.faults.taken = max(self.faults.taken, sent)
            if self.faults.stopping.is_set() or (self.faults.most is not None and sent > self.faults.most):
                return


def for_ever(part: bytes) -> Iterator[bytes]:
    """The part again and again, until the client goes away."""
    while True:
        yield part
