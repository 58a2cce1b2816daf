"""The registry as an ASGI application: distribution-spec 1.1, the pull part and the lists. Only GET and HEAD."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import BinaryIO
from urllib.parse import urlencode

from anyio import to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from polyarch.errors import PolyarchError
from polyarch.oci.media_types import OCI_INDEX
from polyarch.serve.errors import RegistryError, blob_unknown
from polyarch.serve.lookup import Lookup, check_digest_asked, tag_order
from polyarch.serve.offer import Servable
from polyarch.serve.ranges import RangeNotSatisfiable, parse_range

CHUNK = 256 << 10
"""Bytes of a blob that are read, and held in memory, at once for each client."""

# docker's clients look for it (docker's HTTP API V2, "API Version Check"); the OCI spec lets it be.
_VERSION = {"Docker-Distribution-API-Version": "registry/2.0"}


def app(storage: Servable) -> Starlette:
    """The ASGI application that offers `storage`. It reads the storage anew as needed: what is pulled is there."""
    lookup = Lookup(storage)

    def base(request: Request) -> Response:
        return _json({})

    def manifest(request: Request) -> Response:
        name, target = request.path_params["name"], request.path_params["target"]
        if ":" in target:
            check_digest_asked(target)
        document = lookup.document(name, _namespace(request), target)
        digest = target if ":" in target else document.digest
        return Response(
            document.raw, headers=_VERSION | {"Docker-Content-Digest": digest}, media_type=document.media_type
        )

    def blob(request: Request) -> Response:
        name, digest = request.path_params["name"], check_digest_asked(request.path_params["digest"])
        try:
            file = lookup.blob(name, _namespace(request), digest).open("rb", buffering=0)
        except FileNotFoundError as error:
            raise blob_unknown(name, digest) from error
        return _blob_response(request, file, digest)

    def tags(request: Request) -> Response:
        name = request.path_params["name"]
        page, headers = _page(request, lookup.tags(name, _namespace(request)))
        return _json({"name": name, "tags": page}, headers=headers)

    def catalog(request: Request) -> Response:
        page, headers = _page(request, lookup.names())
        return _json({"repositories": page}, headers=headers)

    def referrers(request: Request) -> Response:
        # An empty index, also for what is not here: 404 would say that there is no such API ("Listing Referrers").
        check_digest_asked(request.path_params["digest"])
        return _json({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": []}, media_type=OCI_INDEX)

    application = Starlette(
        routes=[
            Route("/v2/", base),
            Route("/v2/_catalog", catalog),
            Route("/v2/{name:path}/manifests/{target}", manifest),
            Route("/v2/{name:path}/blobs/{digest}", blob),
            Route("/v2/{name:path}/tags/list", tags),
            Route("/v2/{name:path}/referrers/{digest}", referrers),
        ],
        exception_handlers={
            RegistryError: _registry_error,
            PolyarchError: _storage_error,
            HTTPException: _http_error,
            Exception: _defect,
        },
    )
    application.router.redirect_slashes = False
    return application


def _namespace(request: Request) -> str | None:
    """The registry that a client takes this one for, which containerd tells its mirrors (docs/hosts.md, "ns")."""
    return request.query_params.get("ns")


class _BlobResponse(StreamingResponse):
    """Streams a part of an open file, and closes it whatever happens."""

    def __init__(
        self, file: BinaryIO, chunks: AsyncGenerator[bytes, None], status: int, headers: dict[str, str]
    ) -> None:
        super().__init__(chunks, status, headers, media_type="application/octet-stream")
        self._file = file
        self._chunks = chunks

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        with self._file:
            async with aclosing(self._chunks):
                await super().__call__(scope, receive, send)


def _blob_response(request: Request, file: BinaryIO, digest: str) -> Response:
    """The blob, or the range of it that was asked for. Takes `file` over."""
    size = os.fstat(file.fileno()).st_size
    headers = _VERSION | {"Docker-Content-Digest": digest, "ETag": f'"{digest}"', "Accept-Ranges": "bytes"}
    wanted = None
    if request.method == "GET" and request.headers.get("if-range", headers["ETag"]) == headers["ETag"]:
        try:
            wanted = parse_range(request.headers.get("range"), size)
        except RangeNotSatisfiable:
            file.close()
            error = RegistryError(416, "RANGE_INVALID", f"the blob has {size} bytes")
            return _error(error, headers | {"Content-Range": f"bytes */{size}"})
    first, length = wanted or (0, size)
    headers["Content-Length"] = str(length)
    if wanted:
        headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{size}"
    sent = 0 if request.method == "HEAD" else length
    return _BlobResponse(file, _chunks(file, first, sent), 206 if wanted else 200, headers)


async def _chunks(file: BinaryIO, first: int, length: int) -> AsyncGenerator[bytes, None]:
    """`length` bytes of the file from `first` on. A file that ends too early breaks the connection."""
    file.seek(first)
    while length:
        chunk = await to_thread.run_sync(file.read, min(CHUNK, length))
        if not chunk:
            raise EOFError("a blob's file became shorter while it was served")
        length -= len(chunk)
        yield chunk


def _page(request: Request, items: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The page of `items` that `n` and `last` ask for, and the Link to the next one ("Listing Tags")."""
    last, wanted = request.query_params.get("last"), request.query_params.get("n")
    if wanted is not None and not (wanted.isascii() and wanted.isdigit() and len(wanted) < 10):
        raise RegistryError(400, "UNSUPPORTED", "n is a number of entries")
    rest = list(items) if last is None else [item for item in items if tag_order(item) > tag_order(last)]
    if wanted is None or int(wanted) >= len(rest):
        return rest, {}
    page = rest[: int(wanted)]
    if not page:
        return page, {}
    query = dict(request.query_params) | {"last": page[-1]}
    return page, {"Link": f'<{request.url.path}?{urlencode(query)}>; rel="next"'}


def _json(
    document: object,
    status: int = 200,
    headers: dict[str, str] | None = None,
    media_type: str = "application/json",
) -> Response:
    return Response(json.dumps(document), status, _VERSION | (headers or {}), media_type)


def _error(error: RegistryError, headers: dict[str, str] | None = None) -> Response:
    body = {"errors": [{"code": error.code, "message": error.message, "detail": None}]}
    return _json(body, error.status, headers)


def _registry_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RegistryError)
    return _error(error)


def _storage_error(request: Request, error: Exception) -> Response:
    return _error(RegistryError(500, "UNKNOWN", str(error)))


def _http_error(request: Request, error: Exception) -> Response:
    """What the router refuses: another path, another method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 405:
        return _error(RegistryError(405, "UNSUPPORTED", "this registry can only be read"), {"Allow": "GET, HEAD"})
    return _error(RegistryError(error.status_code, "UNSUPPORTED", f"there is no {request.url.path} here"))


def _defect(request: Request, error: Exception) -> Response:
    return _error(RegistryError(500, "UNKNOWN", "polyarch failed; this is a defect"))
