"""The engine's API, as far as it is needed. What an engine says is checked for its shape, and shown `printable`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

from polyarch.contract import Http, IntegrityError, NotFoundError, StorageError, UsageError, printable
from polyarch_plugins.storages.engine_answers import Described, described, listed
from polyarch_plugins.storages.engine_http import EngineHttp, EngineWords

_WORDS = EngineWords(
    "docker",
    "docker",
    "start it, such as with: systemctl start docker; for one that listens elsewhere set DOCKER_HOST",
    "add the user to docker's group: usermod -aG docker USER, and log in again",
)


class Engine:
    """A docker engine. Raises HostError where none answers, and StorageError with its own words where it refuses."""

    def __init__(self, http: Http, socket: Path) -> None:
        self._http = EngineHttp(http, socket, "http://localhost", _WORDS, _refusal)

    def keeps_layers(self) -> bool:
        """True if layers that it has may be left out of what it loads: docker with its classic store of layers.

        Not so with containerd's image store (it says so in the driver's status, docs.docker.com/engine/storage/
        containerd), and not so with podman's imitation of this API (it says so in the answer to a ping).
        """
        with self._http.asked("GET", "/_ping") as reply:
            if "libpod-api-version" in reply.headers:
                return False
        status = _object(self._http.json("/info")).get("DriverStatus")
        return not any("io.containerd." in str(line) for line in listed(status, "docker"))

    def image(self, name: str) -> Described | None:
        """What it tells of an image (a name or an ID); None if it has none. Raises UsageError for what is no name."""
        try:
            return _object(self._http.json(f"/images/{_quoted(name)}/json"))
        except (NotFoundError, StorageError) as error:
            if "invalid reference format" in error.message:  # docker 20.10 takes no IPv6 address
                raise UsageError(f"{printable(name)} is no name that this docker takes") from error
            if isinstance(error, NotFoundError):
                return None
            raise

    def images(self) -> Iterator[Described]:
        """What it tells of every image, named or not."""
        for each in listed(self._http.json("/images/json"), "docker"):
            identifier = _object(each).get("Id")
            if isinstance(identifier, str) and (image := self.image(identifier)) is not None:
                yield image

    def load(self, archive: Iterable[bytes]) -> None:
        """Load the images of a tar archive, which is sent as it comes."""
        headers = {"Content-Type": "application/x-tar"}
        with self._http.asked("POST", "/images/load?quiet=1", headers=headers, content=archive) as reply:
            said = self._http.read(reply)
        for message in _messages(said):
            if error := message.get("error"):
                raise _load_error(printable(str(error)))
            # containerd's image store names an image before it finds that its layers are no sound archives.
            if str(message.get("stream", "")).startswith("Error unpacking image"):
                raise StorageError(f"docker cannot load it: {printable(str(message['stream']).strip())}")

    @contextmanager
    def saved(self, name: str) -> Iterator[Iterator[bytes]]:
        """The archive of an image, as it comes. Raises NotFoundError."""
        with self._http.asked("GET", f"/images/{_quoted(name)}/get") as reply:
            yield self._http.chunks(reply)


def _refusal(status: int, words: str, _what: str) -> StorageError | NotFoundError:
    said = f"docker: {printable(words)}"
    return NotFoundError(said) if status == 404 else StorageError(said)


def _quoted(name: str) -> str:
    return quote(name, safe="/:@")


def _load_error(words: str) -> StorageError | IntegrityError:
    if "invalid diffID" in words:
        return IntegrityError(f"docker refuses it: {words}", "its config promises other layers than it has")
    hint = "free some space where docker keeps its images (docker image prune), then try again: what came is kept"
    return StorageError(f"docker cannot load it: {words}", hint if "no space left" in words else None)


def _messages(raw: bytes) -> Iterator[Described]:
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


def _object(value: object) -> Described:
    return described(value, "docker")
