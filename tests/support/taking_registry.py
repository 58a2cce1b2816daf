"""A small registry that takes images, in memory, with faults where a test asks for them (distribution-spec, "Push")."""

from __future__ import annotations

import hashlib
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

_UPLOADS = re.compile(r"/v2/(?P<repository>.+)/blobs/uploads/(?P<id>[^/]*)")
_CONTENT = re.compile(r"/v2/(?P<repository>.+)/(?P<kind>manifests|blobs|referrers)/(?P<reference>[^/]+)")
_STEP = 64 << 10


@dataclass(frozen=True, slots=True)
class Asked:
    """A request: what of its body was read, and its headers."""

    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    body: int


@dataclass(slots=True)
class Behaviour:
    """What is out of the ordinary. `cuts` are how many bytes of a body are read before the connection is closed, for
    the next bodies in turn; `refusals` are (method, pattern, status, headers) of the next requests that fit.
    """

    cuts: list[int] = field(default_factory=list)
    refusals: list[tuple[str, str, int, dict[str, str]]] = field(default_factory=list)
    largest: int | None = None
    chunk_least: int | None = None
    resumable: bool = True
    place: Callable[[str], str] = str
    subjects: bool = False
    mounts: bool = True


class TakingRegistry:
    """A running server on loopback. `blobs` and `manifests` are what came; `asked` the requests, in their order."""

    def __init__(self) -> None:
        self.behaviour = Behaviour()
        self.asked: list[Asked] = []
        self.blobs: dict[tuple[str, str], bytes] = {}
        self.manifests: dict[tuple[str, str], tuple[str, bytes]] = {}
        self.uploads: dict[str, bytearray] = {}
        self.lock = threading.Lock()
        handler = type("Handler", (_Handler,), {"registry": self})
        self._servers = [ThreadingHTTPServer((host, 0), handler) for host in ("127.0.0.1", "127.0.0.2")]
        self.address, self.elsewhere = ("{}:{}".format(*server.socket.getsockname()) for server in self._servers)
        for server in self._servers:
            server.daemon_threads = True
            threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def requests(self, method: str, pattern: str = "") -> list[Asked]:
        return [each for each in self.asked if each.method == method and re.search(pattern, each.path)]

    def refusal(self, method: str, path: str) -> tuple[int, dict[str, str]] | None:
        with self.lock:
            for each in self.behaviour.refusals:
                if each[0] == method and re.search(each[1], path):
                    self.behaviour.refusals.remove(each)
                    return each[2], each[3]
        return None

    def stop(self) -> None:
        for server in self._servers:
            server.shutdown()
            server.server_close()


class _Handler(BaseHTTPRequestHandler):
    registry: TakingRegistry
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        try:
            self._answer_request()
        except ConnectionError:
            self.close_connection = True

    do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def _answer_request(self) -> None:
        parts = urlsplit(self.path)
        behaviour = self.registry.behaviour
        length = int(self.headers.get("Content-Length", 0))
        refused = self.registry.refusal(self.command, parts.path)
        if refused is None and behaviour.largest is not None and length > behaviour.largest:
            refused = 413, {}
        body = self._read(length)
        asked = Asked(self.command, parts.path, parse_qs(parts.query), dict(self.headers), len(body or b""))
        with self.registry.lock:
            self.registry.asked.append(asked)
        if refused is not None:
            self._say(refused[0], refused[1], _errors("UNSUPPORTED", "the registry's own words"))
        elif parts.path in ("/v2", "/v2/"):
            self._say(200)
        elif match := _UPLOADS.fullmatch(parts.path):
            self._upload(match["repository"], match["id"], asked, body, length)
        elif match := _CONTENT.fullmatch(parts.path):
            self._content(match["repository"], match["kind"], match["reference"], body)
        else:
            self._say(404)

    def _read(self, length: int) -> bytes:
        """The body, as far as it is to come."""
        cuts = self.registry.behaviour.cuts
        end = min(length, cuts.pop(0)) if length and cuts else length
        body = b""
        while len(body) < end and (part := self.rfile.read(min(_STEP, end - len(body)))):
            body += part
        return body

    def _upload(self, repository: str, name: str, asked: Asked, body: bytes, length: int) -> None:
        registry, behaviour = self.registry, self.registry.behaviour
        query = asked.query
        if self.command == "POST":
            digest = query.get("mount", [""])[0]
            source = query.get("from", [""])[0]
            if behaviour.mounts and (source, digest) in registry.blobs:
                registry.blobs[repository, digest] = registry.blobs[source, digest]
                self._say(201, {"Location": f"/v2/{repository}/blobs/{digest}"})
                return
            name = f"upload-{len(registry.uploads)}"
            registry.uploads[name] = bytearray()
            more = {} if behaviour.chunk_least is None else {"OCI-Chunk-Min-Length": str(behaviour.chunk_least)}
            self._say(202, {**self._where(repository, name), **more})
            return
        taken = registry.uploads.get(name)
        if taken is None:
            self._say(404, {}, _errors("BLOB_UPLOAD_UNKNOWN", "no such upload"))
        elif self.command == "GET":
            if behaviour.resumable:
                self._say(204, {**self._where(repository, name), "Range": f"0-{max(len(taken) - 1, 0)}"})
            else:
                del registry.uploads[name]
                self._say(404, {}, _errors("BLOB_UPLOAD_UNKNOWN", "no such upload"))
        elif self.command == "DELETE":
            del registry.uploads[name]
            self._say(204)
        elif self.command == "PATCH" and self.headers.get("Content-Range") != f"{len(taken)}-{len(taken) + length - 1}":
            self._say(416, {**self._where(repository, name), "Range": f"0-{max(len(taken) - 1, 0)}"})
        else:
            if self.command == "PUT" and taken and length and not self.headers.get("Content-Range"):
                taken.clear()  # all of it at once
            taken += body
            if len(body) < length:
                raise ConnectionError
            if self.command == "PATCH":
                self._say(202, {**self._where(repository, name), "Range": f"0-{len(taken) - 1}"})
                return
            digest = query["digest"][0]
            algorithm = digest.partition(":")[0]
            if f"{algorithm}:{hashlib.new(algorithm, taken).hexdigest()}" != digest:
                self._say(400, {}, _errors("DIGEST_INVALID", "provided digest did not match uploaded content"))
                return
            registry.blobs[repository, digest] = bytes(taken)
            del registry.uploads[name]
            self._say(201, {"Location": f"/v2/{repository}/blobs/{digest}"})

    def _where(self, repository: str, name: str) -> dict[str, str]:
        return {"Location": self.registry.behaviour.place(f"/v2/{repository}/blobs/uploads/{name}?state=a%2Fb")}

    def _content(self, repository: str, kind: str, reference: str, body: bytes) -> None:
        registry = self.registry
        if kind == "blobs":
            found = registry.blobs.get((repository, reference))
            self._say(404 if found is None else 200, {}, found or b"")
        elif kind == "referrers":
            self._say(404)
        elif self.command == "PUT":
            media_type = self.headers["Content-Type"]
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            for key in (reference, digest):
                registry.manifests[repository, key] = media_type, body
            headers = {"Docker-Content-Digest": digest}
            subject = json.loads(body).get("subject")
            if subject and registry.behaviour.subjects:
                headers["OCI-Subject"] = subject["digest"]
            self._say(201, headers)
        elif (repository, reference) in registry.manifests:
            media_type, raw = registry.manifests[repository, reference]
            digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
            self._say(200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, raw)
        else:
            self._say(404, {}, _errors("MANIFEST_UNKNOWN", "manifest unknown"))

    def _say(self, status: int, headers: dict[str, str] | None = None, body: bytes = b"") -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and status != 204:
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is printed: `TakingRegistry.asked` tells what came."""


def _errors(code: str, message: str) -> bytes:
    return json.dumps({"errors": [{"code": code, "message": message}]}).encode()
