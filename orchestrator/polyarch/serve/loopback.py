"""One image offered to an engine of this machine, as a registry on loopback, for as long as the engine takes it in.

It is what engines are best at: they ask for several layers at once, and only for those that they do not have. Python's
own HTTP server is enough for that, so nothing has to be installed. Other users of the machine can connect, too; they
would have to guess the repository's name, of 128 bits.
"""

from __future__ import annotations

import contextlib
import re
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO

from polyarch.contract.storage import HasBlobFiles, Image, OfferedImage
from polyarch.errors import HostError, PolyarchError
from polyarch.files import disk_error, open_regular
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of
from polyarch.oci.document import Document, Index
from polyarch.serve.address import LOOPBACK, format_address
from polyarch_platforms.platform import Platform

_PATH = re.compile(r"/v2/(?P<repository>[^?]+)/(?P<kind>manifests|blobs)/(?P<target>[^/?]+)(?:\?.*)?")


@contextlib.contextmanager
def offered(image: Image, blobs: HasBlobFiles) -> Iterator[OfferedImage]:
    """Offer `image` while the body runs: what its name points at, its manifest, its config and the blobs of `blobs`.

    Where a file could not be read, that is raised at the end of the body, for it is why the body failed.
    Raises HostError where nothing can listen on loopback.
    """
    repository = secrets.token_hex(16)
    try:
        server = _Server(repository, image, blobs)
    except OSError as error:
        raise HostError(f"cannot listen on {LOOPBACK}: {error.strerror or error}") from error
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="polyarch-offer", daemon=True)
    thread.start()
    try:
        yield OfferedImage(format_address(LOOPBACK, server.server_port), repository, server.root, server.platform)
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
        if server.fault is not None:
            raise server.fault


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # a connection that nothing is asked on any more holds nobody back

    def __init__(self, repository: str, image: Image, blobs: HasBlobFiles) -> None:
        self.prefix = repository
        self.root, self.platform = _named(image)
        self.documents: tuple[Document, ...] = (self.root, image.manifest)
        self.config = (image.manifest.config.digest, image.config.raw)
        self.files = {layer.digest for layer in image.manifest.layers}
        self.blobs = blobs
        self.fault: PolyarchError | None = None
        super().__init__((LOOPBACK, 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing: an engine that goes away in the midst of an answer tells its user why."""


def _named(image: Image) -> tuple[Document, Platform]:
    """What a tag points at, and the platform that leads from there to the manifest and to nothing else.

    The index itself, if it does. Not so where another entry is of the same platform, or of none that is stated (which
    containerd takes for every one), or where the manifest stands in an index within the index.
    """
    root, manifest = image.root, image.manifest
    if isinstance(root, Index):
        own = [entry for entry in root.manifests if entry.digest == manifest.digest]
        others = [entry for entry in root.manifests if entry.digest != manifest.digest]
        platform = own[0].platform if own else None
        if platform is not None and not any(_leads(entry, platform) for entry in others):
            return root, platform
    return manifest, image.config.platform


def _leads(entry: Descriptor, platform: Platform) -> bool:
    """True if an engine that looks for `platform` may take this entry of an index."""
    return entry.platform is None or _key(entry.platform) == _key(platform)


def _key(platform: Platform) -> tuple[str, str, str]:
    # containerd/platforms, database.go, normalizeArch: arm without a variant is v7.
    variant = platform.variant or ("v7" if platform.architecture == "arm" else "")
    return platform.os, platform.architecture, variant


class _Handler(BaseHTTPRequestHandler):
    """OCI distribution-spec 1.1, "Pull": end-1 to end-3."""

    protocol_version = "HTTP/1.1"
    timeout = 300
    server: _Server

    def do_GET(self) -> None:
        """Answer with the document or the blob."""
        if self.path == "/v2/":
            self._answer(200, "application/json", b"{}")
            return
        match = _PATH.fullmatch(self.path)
        if match is None or match["repository"].partition("/")[0] != self.server.prefix:
            self._answer(404, "application/json", b'{"errors":[{"code":"NAME_UNKNOWN"}]}')
        elif match["kind"] == "manifests":
            self._send_document(match["target"])
        else:
            self._send_blob(match["target"])

    do_HEAD = do_GET

    def _send_document(self, target: str) -> None:
        algorithm, colon, _ = target.partition(":")
        for document in self.server.documents:
            if not colon or (algorithm in ("sha256", "sha512") and digest_of(document.raw, algorithm) == target):
                digest = target if colon else document.digest
                self._answer(200, document.media_type, document.raw, digest)
                return
        self._answer(404, "application/json", b'{"errors":[{"code":"MANIFEST_UNKNOWN"}]}')

    def _send_blob(self, digest: Digest) -> None:
        config, raw = self.server.config
        if digest == config:
            self._answer(200, "application/octet-stream", raw, digest)
            return
        file = self._opened(digest) if digest in self.server.files else None
        if file is None:
            # Not 500: engines would ask again and again.
            self._answer(404, "application/json", b'{"errors":[{"code":"BLOB_UNKNOWN"}]}')
            return
        with file:
            size = file.seek(0, 2)
            file.seek(0)
            self._head(200, "application/octet-stream", size, digest)
            if self.command == "GET":
                self.connection.sendfile(file)

    def _opened(self, digest: Digest) -> BinaryIO | None:
        """The file of a blob; None, and the fault kept, where it cannot be read."""
        try:
            path = self.server.blobs.blob_path(digest)
            try:
                return open_regular(path)
            except OSError as error:
                raise disk_error(error, f"cannot read {path}") from error
        except PolyarchError as error:
            self.server.fault = error
            return None

    def _answer(self, status: int, media_type: str, body: bytes, digest: Digest = "") -> None:
        self._head(status, media_type, len(body), digest)
        if self.command == "GET":
            self.wfile.write(body)

    def _head(self, status: int, media_type: str, size: int, digest: Digest) -> None:
        self.send_response(status)
        self.send_header("Content-Type", media_type)
        self.send_header("Content-Length", str(size))
        if digest:
            self.send_header("Docker-Content-Digest", digest)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing on the terminal."""
