"""The search APIs of Docker Hub, Quay and Harbor on loopback, with answers as their documentation shows them.

Sources: docs.docker.com, "docker search" (names, descriptions and stars of its first example), moby/moby,
api/types/registry/search.go (the form); docs.redhat.com, "Red Hat Quay API guide", "Searching against registry
context", and quay/quay, endpoints/api/search.py; goharbor/harbor, api/v2.0/swagger.yaml (Search, SearchRepository).
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

Query = dict[str, list[str]]
Answer = tuple[int, bytes]
"""Status and body."""


class SearchApis:
    """A running server: `address`, and `requests` (path with query) in the order in which they came.

    A test may put other answers into `pages` (path -> query -> answer); what is in no page is a 404.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.pages: dict[str, Callable[[Query], Answer]] = {}
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"apis": self}))
        self.address = f"127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self._http.shutdown()
        self._http.server_close()


class _Handler(BaseHTTPRequestHandler):
    apis: SearchApis
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.apis.requests.append(self.path)
        parts = urlsplit(self.path)
        page = self.apis.pages.get(parts.path)
        status, body = page(parse_qs(parts.query, keep_blank_values=True)) if page else (404, b"404 page not found\n")
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing is printed: `requests` tells what came."""


def said(document: object, status: int = 200) -> Callable[[Query], Answer]:
    """A page that always answers this JSON."""
    return lambda query: (status, json.dumps(document).encode())


_BUSYBOX = (
    ("progrium/busybox", "", 50, False),
    ("busybox", "Busybox base image.", 316, True),
    (
        "radial/busyboxplus",
        "Full-chain, Internet enabled, busybox made from scratch. Comes in git and cURL flavors.",
        8,
        False,
    ),
    ("odise/busybox-python", "", 2, False),
    ("azukiapp/busybox", "This image is meant to be used as the base\nimage for BusyBox", 2, False),
    ("ofayau/busybox-jvm", "Prepare busybox to install a 32 bits JVM.", 1, False),
)


def docker_hub(query: Query) -> Answer:
    """`/v1/search` of index.docker.io, asked for busybox."""
    if query.get("q") != ["busybox"]:
        return 200, json.dumps({"num_results": 0, "query": query["q"][0], "results": []}).encode()
    results = [
        {"name": name, "description": text, "star_count": stars, "is_official": official, "is_automated": False}
        for name, text, stars, official in _BUSYBOX
    ]
    document = {"num_pages": 1, "num_results": len(results), "page": 1, "page_size": 25, "query": "busybox"}
    return 200, json.dumps({**document, "results": results[: int(query["n"][0])]}).encode()


def _quay_result(number: int) -> dict[str, object]:
    avatar = {"name": "quayadmin", "hash": "6d64", "color": "#f7b6d2", "kind": "user"}
    namespace = {"title": "user", "kind": "user", "avatar": avatar, "name": "quayadmin", "score": 1}
    return {
        "kind": "application" if number == 2 else "repository",
        "title": "repo",
        "namespace": {**namespace, "href": "/user/quayadmin"},
        "name": f"busybox-{number}",
        "description": None if number % 2 else f"# Busybox {number}\n\nsmall",
        "is_public": True,
        "score": 4.0,
        "href": f"/repository/quayadmin/busybox-{number}",
        "stars": number,
        "popularity": 0.0,
    }


def quay(query: Query) -> Answer:
    """`/api/v1/find/repositories`: 23 results in pages of ten; the third one is an application."""
    page = int(query["page"][0])
    results = [_quay_result(number) for number in range(23)][(page - 1) * 10 : page * 10]
    return 200, json.dumps(
        {"results": results, "has_additional": page < 3, "page": page, "page_size": 10, "start_index": (page - 1) * 10}
    ).encode()


def harbor(query: Query) -> Answer:
    """`/api/v2.0/search`."""
    found = [
        {
            "project_id": 1,
            "project_name": "library",
            "project_public": True,
            "repository_name": f"library/{name}",
            "pull_count": 7,
            "artifact_count": 2,
        }
        for name in ("busybox", "tools/busybox-arm", "redis")
        if query["q"][0] in name
    ]
    return 200, json.dumps({"project": [], "repository": found, "chart": []}).encode()


HUB_PATH = "/v1/search"
QUAY_PATH = "/api/v1/find/repositories"
HARBOR_PATH = "/api/v2.0/search"
HARBOR_PING = "/api/v2.0/ping"


def pong(query: Query) -> Answer:
    """`/api/v2.0/ping` of a Harbor."""
    return 200, b"Pong"
