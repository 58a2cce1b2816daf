"""podman's service, `podman system service`: libpod's API over a unix socket (docs.podman.io, "API reference")."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

from polyarch.contract import (
    Digest,
    HasBlobFiles,
    HostError,
    Http,
    HttpResponse,
    Image,
    NotFoundError,
    StorageError,
    UnreachableError,
    disk_error,
    is_there,
    printable,
)
from polyarch_plugins.storages.podman.archive import archive
from polyarch_plugins.storages.podman.engine import Described, complaint, described, parsed, texts

_BASE = "http://localhost/v4.0.0/libpod"
"""The oldest version of the API that every podman since 4.0 speaks."""
_LARGEST_ANSWER = 64 << 20


class Service:
    """Satisfies Engine. Images come in as archives: the service may be somewhere that cannot pull from this process."""

    def __init__(self, http: Http, socket: Path) -> None:
        self._http, self.socket = http, socket

    def image(self, name: str) -> Described | None:
        """What it tells of an image."""
        try:
            with self._asked("GET", f"/images/{quote(name, safe='/:@')}/json", what=name) as reply:
                return described(parsed(self._read(reply)))
        except NotFoundError:
            return None

    def images(self) -> Iterator[tuple[tuple[str, ...], Described]]:
        """The names of each image, and what it tells of it."""
        with self._asked("GET", "/images/json") as reply:
            listed = parsed(self._read(reply)) or ()
        for each in map(described, listed):
            if (told := self.image(str(each.get("Id")))) is not None:
                yield texts(each.get("Names")), told

    def layers(self) -> Collection[Digest]:
        """Nobody can tell from outside: all travel, and podman does not unpack again those that it has."""
        return ()

    def take(self, name: str, image: Image, blobs: HasBlobFiles) -> None:
        """Load an archive that is made while it is sent."""
        headers = {"Content-Type": "application/x-tar"}
        with self._asked("POST", "/images/load", what=name, headers=headers, content=archive(name, image, blobs)) as ok:
            self._read(ok)

    def save(self, name: str, path: Path) -> None:
        """Write an image into a file."""
        try:
            with self._asked("GET", f"/images/{quote(name, safe='/:@')}/get?format=docker-archive", what=name) as reply:
                with path.open("xb") as file:
                    for chunk in reply.chunks():
                        file.write(chunk)
        except UnreachableError as error:
            raise self._gone(error) from error
        except OSError as error:
            raise disk_error(error, f"cannot keep podman's {name}") from error

    def remove(self, name: str) -> None:
        """Take a name away, and the image with its last one."""
        with suppress(NotFoundError), self._asked("DELETE", f"/images/{quote(name, safe='/:@')}", what=name) as reply:
            self._read(reply)

    def close(self) -> None:
        """Nothing to end: the connection is polyarch's."""

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
        what: str = "podman",
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
                said = self._read(reply)
                try:
                    words = str(described(parsed(said))["message"])
                except (StorageError, KeyError):
                    words = said[:500].decode(errors="replace") or f"status {reply.status}"
                if reply.status == 404:
                    raise NotFoundError(f"podman has no image {what}: {printable(words)}", "see: podman image ls")
                raise complaint(words, what)
            yield reply
        finally:
            request.__exit__(None, None, None)

    def _gone(self, error: UnreachableError) -> HostError:
        socket = self.socket
        if not is_there(socket):
            return HostError(
                f"podman's service does not run here: there is no socket {socket}",
                "start it, such as with: systemctl start podman.socket (systemctl --user for an ordinary user's)",
            )
        if not os.access(socket, os.R_OK | os.W_OK):
            return HostError(
                f"this user may not speak with podman's service: {socket} is not open to it",
                "use podman without the socket: --into podman takes the images of the user who calls",
            )
        return HostError(f"podman's service does not answer: {error.message}", f"see whether it runs: {socket}")
