"""podman's service, `podman system service`: libpod's API over a unix socket (docs.podman.io, "API reference")."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

from polyarch.contract import Digest, HasBlobFiles, Http, Image, NotFoundError, PolyarchError, disk_error, printable
from polyarch_plugins.storages.engine_answers import Described, described, listed, texts
from polyarch_plugins.storages.engine_http import EngineHttp, EngineWords
from polyarch_plugins.storages.podman.archive import archive
from polyarch_plugins.storages.podman.engine import complaint

_BASE = "http://localhost/v4.0.0/libpod"
"""The oldest version of the API that every podman since 4.0 speaks."""
_WORDS = EngineWords(
    "podman",
    "podman's service",
    "start it, such as with: systemctl start podman.socket (systemctl --user for an ordinary user's)",
    "use podman without the socket: --into podman takes the images of the user who calls",
)


class Service:
    """Satisfies Engine. Images come in as archives: the service may be somewhere that cannot pull from this process."""

    def __init__(self, http: Http, socket: Path) -> None:
        self._http = EngineHttp(http, socket, _BASE, _WORDS, _refusal)

    def image(self, name: str) -> Described | None:
        """What it tells of an image."""
        try:
            return described(self._http.json(f"/images/{_quoted(name)}/json", name), "podman")
        except NotFoundError:
            return None

    def images(self) -> Iterator[tuple[tuple[str, ...], Described]]:
        """The names of each image, and what it tells of it."""
        for value in listed(self._http.json("/images/json", "podman"), "podman"):
            each = described(value, "podman")
            if (told := self.image(str(each.get("Id")))) is not None:
                yield texts(each.get("Names")), told

    def layers(self) -> Collection[Digest]:
        """Nobody can tell from outside: all travel, and podman does not unpack again those that it has."""
        return ()

    def take(self, name: str, image: Image, blobs: HasBlobFiles) -> None:
        """Load an archive that is made while it is sent."""
        headers = {"Content-Type": "application/x-tar"}
        content = archive(name, image, blobs)
        with self._http.asked("POST", "/images/load", what=name, headers=headers, content=content) as reply:
            self._http.read(reply)

    def save(self, name: str, path: Path) -> None:
        """Write an image into a file."""
        place = f"/images/{_quoted(name)}/get?format=docker-archive"
        with self._http.asked("GET", place, what=name) as reply:
            try:
                with path.open("xb") as file:
                    for chunk in self._http.chunks(reply):
                        file.write(chunk)
            except OSError as error:
                raise disk_error(error, f"cannot keep podman's {name}") from error

    def remove(self, name: str) -> None:
        """Take a name away, and the image with its last one."""
        with suppress(NotFoundError), self._http.asked("DELETE", f"/images/{_quoted(name)}", what=name) as reply:
            self._http.read(reply)

    def close(self) -> None:
        """Nothing to end: the connection is polyarch's."""


def _refusal(status: int, words: str, what: str) -> PolyarchError:
    if status == 404:
        return NotFoundError(f"podman has no image {what}: {printable(words)}", "see: podman image ls")
    return complaint(words, what)


def _quoted(name: str) -> str:
    return quote(name, safe="/:@")
