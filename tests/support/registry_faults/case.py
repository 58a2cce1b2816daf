"""What a case is, and the honest image that cases change."""

from __future__ import annotations

import gzip
import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from support.layers import file, layer
from support.registry_faults.server import Answer, Raw, Reply, Request, Wire

ARCHITECTURE = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"
JSON = "application/json"
TAG = "1"

Make = Callable[[Request, "Image"], Answer | None]


def sha256(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def encoded(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def descriptor(data: bytes, media_type: str, **more: object) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": sha256(data), "size": len(data), **more}


_TAR = layer(file("etc/motd", b"hello\n"), file("bulk", hashlib.shake_128(b"x").digest(3000)))
LAYER_BYTES = gzip.compress(_TAR, 1, mtime=0)
CONFIG_DOCUMENT: dict[str, Any] = {
    "architecture": ARCHITECTURE,
    "os": "linux",
    "config": {},
    "rootfs": {"type": "layers", "diff_ids": [sha256(_TAR)]},
}
CONFIG_BYTES = encoded(CONFIG_DOCUMENT)
MANIFEST_DOCUMENT: dict[str, Any] = {
    "schemaVersion": 2,
    "mediaType": MANIFEST,
    "config": descriptor(CONFIG_BYTES, CONFIG),
    "layers": [descriptor(LAYER_BYTES, LAYER)],
}


@dataclass(frozen=True)
class Image:
    """What the registry would hold if it were honest: `root` has the tag, `documents` and `blobs` are by digest."""

    root: bytes = field(default_factory=lambda: encoded(MANIFEST_DOCUMENT))
    media_type: str = MANIFEST
    documents: Mapping[str, tuple[str, bytes]] = field(default_factory=dict)
    blobs: Mapping[str, bytes] = field(
        default_factory=lambda: {sha256(CONFIG_BYTES): CONFIG_BYTES, sha256(LAYER_BYTES): LAYER_BYTES}
    )

    def honest(self, request: Request) -> Reply:
        """The answer of a registry without a fault."""
        if request.kind == "manifests":
            known = {sha256(self.root): (self.media_type, self.root), **self.documents}
            found = (self.media_type, self.root) if request.target == TAG else known.get(request.target)
            if found is None:
                return refusal(404, "MANIFEST_UNKNOWN", "manifest unknown")
            return Reply(200, {"Content-Type": found[0], "Docker-Content-Digest": sha256(found[1])}, found[1])
        if request.kind == "blobs":
            data = self.blobs.get(request.target)
            if data is None:
                return refusal(404, "BLOB_UNKNOWN", "blob unknown")
            headers = {"Content-Type": "application/octet-stream"}
            if request.offset == 0:
                return Reply(200, headers, data)
            if request.offset >= len(data):
                return Reply(416, {"Content-Range": f"bytes */{len(data)}"})
            headers["Content-Range"] = f"bytes {request.offset}-{len(data) - 1}/{len(data)}"
            return Reply(206, headers, data[request.offset :])
        if request.kind == "tags":
            return Reply(200, {"Content-Type": JSON}, encoded({"name": request.repository, "tags": [TAG]}))
        return refusal(404, "NAME_UNKNOWN", "unknown")


@dataclass(frozen=True)
class Case:
    """A fault. `does` says what the registry does, `code` is how polyarch shall end, `says` what its error line holds
    (a regular expression). `make` gives the answer, or None for the honest one.

    `command` are polyarch's words before the name; `secret`: credentials for the registry are at hand, and never come
    to another address. `heavy` ones take a second of the processor.
    """

    name: str
    does: str
    code: int
    says: str
    make: Make
    image: Image = field(default_factory=Image)
    command: Sequence[str] = ("pull",)
    secret: bool = False
    heavy: bool = False

    def answer(self, request: Request) -> Answer:
        made = self.make(request, self.image)
        return self.image.honest(request) if made is None else made


# Answers


def refusal(status: int, code: str, message: str, **headers: str) -> Reply:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Reply(status, {"Content-Type": JSON, **named}, encoded({"errors": [{"code": code, "message": message}]}))


def challenge(value: str) -> Reply:
    return refusal(401, "UNAUTHORIZED", "authentication required", WWW_Authenticate=value)


def chunked(head: bytes, parts: Iterator[bytes] | Sequence[bytes], end: bytes = b"0\r\n\r\n") -> Raw:
    """An answer in chunks; `head` are status line and header fields, each with its end."""

    def send(wire: Wire) -> Iterator[bytes]:
        yield head + b"Transfer-Encoding: chunked\r\n\r\n"
        for part in parts:
            yield b"%x\r\n%b\r\n" % (len(part), part)
        yield end

    return Raw(send)


def stalled(before: bytes) -> Raw:
    """These bytes, then nothing more."""

    def send(wire: Wire) -> Iterator[bytes]:
        yield before
        wire.stall()

    return Raw(send)


def dripping(before: bytes, part: bytes = b" ", pause: float = 0.1) -> Raw:
    """These bytes, then a few at a time, for ever."""

    def send(wire: Wire) -> Iterator[bytes]:
        yield before
        while True:
            wire.pause(pause)
            yield part

    return Raw(send)


def cut(reply: Reply, size: int, *, reset: bool = False) -> Raw:
    """The answer's head and so many bytes of its body; then the connection ends."""

    def send(wire: Wire) -> Iterator[bytes]:
        yield reply.head() + reply.body[:size]
        if reset:
            wire.reset()

    return Raw(send)


# Cases made of a part that is not honest


def on(kind: str, answer: Answer | Callable[[Request, Image], Answer | None]) -> Make:
    """For requests of one kind."""

    def make(request: Request, image: Image) -> Answer | None:
        if request.kind != kind:
            return None
        return answer(request, image) if callable(answer) else answer

    return make


def first(kind: str, *answers: Answer) -> Make:
    """The first requests of one kind are answered so, the following honestly."""

    def make(request: Request, image: Image) -> Answer | None:
        if request.kind != kind or request.number > len(answers):
            return None
        return answers[request.number - 1]

    return make


def blob(change: Callable[[Request, Reply, bytes], Answer], which: bytes = LAYER_BYTES) -> Make:
    """Another answer for one blob: made of the request, the honest answer and the whole blob."""

    def make(request: Request, image: Image) -> Answer | None:
        if request.kind != "blobs" or request.target != sha256(which):
            return None
        return change(request, image.honest(request), which)

    return make


def nothing_wrong(request: Request, image: Image) -> None:
    """The answers are honest: the documents are not."""


def case_of(name: str, does: str, code: int, says: str, make: Make = nothing_wrong, **more: Any) -> Case:
    return Case(name, does, code, says, make, **more)


def with_root(name: str, does: str, code: int, says: str, root: bytes, media_type: str = MANIFEST, **more: Any) -> Case:
    """A tag that leads to these bytes."""
    image = replace(Image(root, media_type), **more)
    return Case(name, does, code, says, nothing_wrong, image)


def with_manifest(name: str, does: str, code: int, says: str, **changed: object) -> Case:
    """A manifest with other fields; None leaves one out."""
    document = {key: value for key, value in {**MANIFEST_DOCUMENT, **changed}.items() if value is not None}
    return with_root(name, does, code, says, encoded(document))


def with_layer(name: str, does: str, code: int, says: str, **changed: object) -> Case:
    """A manifest whose one layer has a descriptor with other fields."""
    entry = {key: value for key, value in {**descriptor(LAYER_BYTES, LAYER), **changed}.items() if value is not None}
    return with_manifest(name, does, code, says, layers=[entry])


def with_config(name: str, does: str, code: int, says: str, config: bytes, make: Make = nothing_wrong) -> Case:
    """A config of these bytes, with a manifest that is right about it."""
    root = encoded({**MANIFEST_DOCUMENT, "config": descriptor(config, CONFIG)})
    blobs = {sha256(config): config, sha256(LAYER_BYTES): LAYER_BYTES}
    return Case(name, does, code, says, make, Image(root, blobs=blobs))


def index_of(entries: Sequence[object], **more: object) -> bytes:
    return encoded({"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, **more})


def entry_of(data: bytes, media_type: str = MANIFEST, **more: object) -> dict[str, Any]:
    return descriptor(data, media_type, platform={"os": "linux", "architecture": ARCHITECTURE}, **more)
