"""The engine's API, as far as it is needed. What an engine says is checked for its shape, and shown `printable`."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from polyarch.contract import (
    HostError,
    Http,
    HttpResponse,
    IntegrityError,
    NotFoundError,
    StorageError,
    UnreachableError,
    UsageError,
    is_there,
    printable,
)

_BASE = "http://localhost"
_LARGEST_ANSWER = 64 << 20
"""Bytes of an answer that are read: a list of all images, or what is said of a load."""


class Engine:
    """A docker engine. Raises HostError where none answers, and StorageError with its own words where it refuses."""

    def __init__(self, http: Http, socket: Path) -> None:
        self._http, self.socket = http, socket

    def keeps_layers(self) -> bool:
        """True if layers that it has may be left out of what it loads: docker with its classic store of layers.

        Not so with containerd's image store (it says so in the driver's status, docs.docker.com/engine/storage/
        containerd), and not so with podman's imitation of this API (it says so in the answer to a ping).
        """
        with self._asked("GET", "/_ping") as reply:
            if "libpod-api-version" in reply.headers:
                return False
        status = _object(self._json("/info")).get("DriverStatus") or []
        return not any("io.containerd." in str(line) for line in _list(status))

    def image(self, name: str) -> dict[str, Any] | None:
        """What it tells of an image (a name or an ID); None if it has none. Raises UsageError for what is no name."""
        try:
            return _object(self._json(f"/images/{_quoted(name)}/json"))
        except (NotFoundError, StorageError) as error:
            if "invalid reference format" in error.message:  # docker 20.10 takes no IPv6 address
                raise UsageError(f"{printable(name)} is no name that this docker takes") from error
            if isinstance(error, NotFoundError):
                return None
            raise

    def images(self) -> Iterator[dict[str, Any]]:
        """What it tells of every image, named or not."""
        for listed in _list(self._json("/images/json")):
            identifier = _object(listed).get("Id")
            if isinstance(identifier, str) and (image := self.image(identifier)) is not None:
                yield image

    def load(self, archive: Iterable[bytes]) -> None:
        """Load the images of a tar archive, which is sent as it comes."""
        headers = {"Content-Type": "application/x-tar"}
        with self._asked("POST", "/images/load?quiet=1", headers=headers, content=archive) as reply:
            said = self._read(reply)
        for message in _messages(said):
            if error := message.get("error"):
                raise _load_error(printable(str(error)))
            # containerd's image store names an image before it finds that its layers are no sound archives.
            if str(message.get("stream", "")).startswith("Error unpacking image"):
                raise StorageError(f"docker cannot load it: {printable(str(message['stream']).strip())}")

    @contextmanager
    def saved(self, name: str) -> Iterator[Iterator[bytes]]:
        """The archive of an image, as it comes. Raises NotFoundError."""
        with self._asked("GET", f"/images/{_quoted(name)}/get") as reply:
            yield self._told(reply.chunks())

    def _told(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        try:
            yield from chunks
        except UnreachableError as error:
            raise self._gone(error) from error

    def _json(self, path: str) -> object:
        with self._asked("GET", path) as reply:
            return _parsed(self._read(reply))

    def _read(self, reply: HttpResponse) -> bytes:
        try:
            return reply.read(_LARGEST_ANSWER)
        except UnreachableError as error:
            raise self._gone(error) from error

    @contextmanager
    def _asked(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        content: Iterable[bytes] | None = None,
    ) -> Iterator[HttpResponse]:
        """An answer that is no refusal."""
        request = self._http.request(method, f"{_BASE}{path}", headers=headers, content=content)
        try:
            reply = request.__enter__()
        except UnreachableError as error:
            raise self._gone(error) from error
        try:
            if reply.status >= 400:
                raise self._refusal(reply)
            yield reply
        finally:
            request.__exit__(None, None, None)

    def _refusal(self, reply: HttpResponse) -> StorageError | NotFoundError:
        said = self._read(reply)
        try:
            said = str(_object(_parsed(said))["message"]).encode()
        except (StorageError, KeyError):
            said = said[:500]
        words = printable(said.decode(errors="replace").strip()) or f"status {reply.status}"
        return NotFoundError(f"docker: {words}") if reply.status == 404 else StorageError(f"docker: {words}")

    def _gone(self, error: UnreachableError) -> HostError:
        socket = self.socket
        start = "start it, such as with: systemctl start docker; for one that listens elsewhere set DOCKER_HOST"
        if not is_there(socket):
            return HostError(f"docker does not run here: there is no socket {socket}", start)
        if not os.access(socket, os.R_OK | os.W_OK):
            return HostError(
                f"this user may not speak with docker: {socket} is not open to it",
                "add the user to docker's group: usermod -aG docker USER, and log in again",
            )
        return HostError(f"docker does not answer: {error.message}", start)


def _quoted(name: str) -> str:
    return quote(name, safe="/:@")


def _load_error(words: str) -> StorageError | IntegrityError:
    if "invalid diffID" in words:
        return IntegrityError(f"docker refuses it: {words}", "its config promises other layers than it has")
    hint = "free some space where docker keeps its images (docker image prune), then try again: what came is kept"
    return StorageError(f"docker cannot load it: {words}", hint if "no space left" in words else None)


def _parsed(raw: bytes) -> object:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"docker's answer is no JSON: {printable(str(error), 200)}") from error


def _messages(raw: bytes) -> Iterator[dict[str, Any]]:
    """The objects of an answer that is a row of them. Raises StorageError."""
    decoder = json.JSONDecoder()
    text = raw.decode(errors="replace").lstrip()
    while text:
        try:
            value, end = decoder.raw_decode(text)
        except (ValueError, RecursionError) as error:
            raise StorageError(f"docker's answer is no JSON: {printable(text, 200)}") from error
        yield _object(value)
        text = text[end:].lstrip()


def _object(value: object) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise IntegrityError(f"docker's answer is no object: {printable(repr(value), 200)}")


def _list(value: object) -> list[Any]:
    if isinstance(value, list):
        return value
    raise IntegrityError(f"docker's answer is no list: {printable(repr(value), 200)}")
