"""A small registry that answers from an OCI image layout, with faults where a test's script says so.

It speaks the pulling half of the OCI distribution-spec 1.1, and what a test needs to see is recorded.
"""

from __future__ import annotations

import json
import re
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Any

from support.exchange import Answer, Body, Request
from support.faults import Fault
from support.layout_files import Layout

_PATH = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs|tags)/(?P<reference>[^/]+)")


@dataclass(slots=True)
class _Rule:
    method: str
    path: re.Pattern[str]
    faults: list[Fault]
    forever: bool

    def take(self, request: Request) -> Fault | None:
        if not self.faults or request.method != self.method or not self.path.search(request.path):
            return None
        return self.faults[0] if self.forever and len(self.faults) == 1 else self.faults.pop(0)


class FaultyRegistry:
    """A running server on loopback: `address`, and `requests` in the order in which they came.

    `elsewhere` is the address of a second host (127.0.0.2) with the same content, for redirects; a request's `host`
    tells which of the two was asked.
    """

    def __init__(self, layout: Layout) -> None:
        self.layout = layout
        self.requests: list[Request] = []
        self._rules: list[_Rule] = []
        self._lock = threading.Lock()
        self.stopping = threading.Event()
        handler = type("Handler", (_Handler,), {"registry": self})
        self._servers = [_Server((host, 0), handler) for host in ("127.0.0.1", "127.0.0.2")]
        self.address, self.elsewhere = (server.address for server in self._servers)
        for server in self._servers:
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def ref(self, name: str) -> str:
        """The full reference of a name here: `127.0.0.1:PORT/busybox:1.36`."""
        return f"{self.address}/{name}"

    def script(self, method: str, path: str, *faults: Fault, forever: bool = False) -> None:
        """The next requests with this method, whose path the regular expression is found in, get these faults in turn.

        Afterwards they are answered honestly, or with `forever` get the last fault always. Of several scripts that fit
        a request, the first one with faults left is taken.
        """
        self._rules.append(_Rule(method, re.compile(path), list(faults), forever))

    def asked(self, method: str, path: str = "") -> list[Request]:
        """The requests so far with this method, whose path the regular expression is found in."""
        return [request for request in self.requests if request.method == method and re.search(path, request.path)]

    def take(self, request: Request) -> Answer:
        """Records the request; the answer with its fault."""
        with self._lock:
            self.requests.append(request)
            fault = next((found for rule in self._rules if (found := rule.take(request))), None)
        answer = self._honest(request)
        return fault(request, answer) if fault else answer

    def _honest(self, request: Request) -> Answer:
        if request.path in ("/v2", "/v2/"):
            return Answer(200, {"Content-Type": "application/json"}, Body(b"{}"))
        match = _PATH.fullmatch(request.path)
        if match is None or request.method not in ("GET", "HEAD"):
            return _refusal(404, "UNSUPPORTED")
        answers: dict[str, Callable[[str, str, Request], Answer]] = {
            "manifests": self._manifest,
            "blobs": self._blob,
            "tags": self._tags,
        }
        return answers[match["kind"]](match["repository"], match["reference"], request)

    def _manifest(self, repository: str, reference: str, _: Request) -> Answer:
        if reference.startswith("sha256:"):
            path = self.layout.path(reference)
            digest = reference if path.exists() else None
        else:
            digest = self.layout.names.get(f"{repository}:{reference}", {}).get("digest")
        if digest is None:
            return _refusal(404, "MANIFEST_UNKNOWN")
        media_type = self.layout.json(digest).get("mediaType", "application/vnd.oci.image.manifest.v1+json")
        headers = {"Content-Type": media_type, "Docker-Content-Digest": digest}
        return Answer(200, headers, Body(file=self.layout.path(digest)))

    def _blob(self, _: str, digest: str, request: Request) -> Answer:
        path = self.layout.path(digest)
        if not path.is_file():
            return _refusal(404, "BLOB_UNKNOWN")
        total = path.stat().st_size
        headers = {
            "Content-Type": "application/octet-stream",
            "Docker-Content-Digest": digest,
            "Accept-Ranges": "bytes",
        }
        if request.byte_range is None:
            return Answer(200, headers, Body(file=path))
        first, last = request.byte_range
        end = total if last is None else min(last + 1, total)
        if first >= total:
            return Answer(416, {"Content-Range": f"bytes */{total}"})
        headers["Content-Range"] = f"bytes {first}-{end - 1}/{total}"
        return Answer(206, headers, Body(file=path, offset=first, length=end - first))

    def _tags(self, repository: str, _: str, __: Request) -> Answer:
        tags = sorted(name.partition(":")[2] for name in self.layout.names if name.partition(":")[0] == repository)
        body = json.dumps({"name": repository, "tags": tags}).encode()
        return Answer(200, {"Content-Type": "application/json"}, Body(body)) if tags else _refusal(404, "NAME_UNKNOWN")

    def stop(self) -> None:
        """Ends stalled answers and both servers."""
        self.stopping.set()
        for server in self._servers:
            server.shutdown()
            server.server_close()


def _refusal(status: int, code: str) -> Answer:
    body = json.dumps({"errors": [{"code": code, "message": code.lower(), "detail": None}]}).encode()
    return Answer(status, {"Content-Type": "application/json"}, Body(body))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    block_on_close = False

    @property
    def address(self) -> str:
        return "{}:{}".format(*self.socket.getsockname())

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is what some tests are about; the rest are defects of a test."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    registry: FaultyRegistry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._send(self.registry.take(self._request()))

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _request(self) -> Request:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        return Request(self.command, self.path, self.headers, self.server.address)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        length = answer.body.size if answer.declared_length is None else answer.declared_length
        self.send_header("Content-Length", str(length))
        self.end_headers()
        if self.command != "HEAD":
            self._send_body(answer)

    def _send_body(self, answer: Answer) -> None:
        limits = [limit for limit in (answer.cut_after, answer.stall_after) if limit is not None]
        end = min([*limits, answer.body.size])
        if limits or answer.declared_length is not None:
            self.close_connection = True  # what is not sent, or sent beyond the length, must not meet the next answer
        started, sent = monotonic(), 0
        for chunk in answer.body.chunks():
            part = chunk[: end - sent]
            self.wfile.write(part)
            sent += len(part)
            if sent >= end:
                break
            if answer.bytes_per_second:
                self.registry.stopping.wait(max(0.0, sent / answer.bytes_per_second - (monotonic() - started)))
        if answer.stall_after is not None:
            while not answer.stall_until.wait(0.05) and not self.registry.stopping.is_set():
                pass

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed: `FaultyRegistry.requests` tells what came."""
