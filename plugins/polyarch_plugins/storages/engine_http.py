"""The HTTP that engines of this machine speak over their unix sockets, and where such a socket is."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from polyarch.contract import (
    HostError,
    Http,
    HttpResponse,
    PolyarchError,
    StorageError,
    UnreachableError,
    UsageError,
    is_there,
    printable,
)
from polyarch_plugins.storages.engine_answers import described, parsed

_LARGEST_ANSWER = 64 << 20
"""Bytes of an answer that are read: a list of all images, or what is said of a load."""


@dataclass(frozen=True, slots=True)
class EngineWords:
    """What the engine is called, and what of it listens; what to do where that does not run, or is closed."""

    engine: str
    who: str
    start: str
    closed: str


class EngineHttp:
    """Requests to an engine below the URL `base`. All methods raise HostError where it does not answer.

    `refusal` makes the error of an answer of 400 and more: from its status, the engine's words, and what was asked for.
    """

    def __init__(
        self, http: Http, socket: Path, base: str, words: EngineWords, refusal: Callable[[int, str, str], PolyarchError]
    ) -> None:
        self._http, self._socket, self._base = http, socket, base
        self._words, self._refusal = words, refusal

    @contextmanager
    def asked(
        self,
        method: str,
        path: str,
        *,
        what: str = "",
        headers: Mapping[str, str] | None = None,
        content: Iterable[bytes] | None = None,
    ) -> Iterator[HttpResponse]:
        """An answer that is no refusal."""
        request = self._http.request(method, f"{self._base}{path}", headers=headers, content=content)
        try:
            reply = request.__enter__()
        except UnreachableError as error:
            raise self._gone(error) from error
        try:
            if reply.status >= 400:
                raise self._refusal(reply.status, self._said(reply), what)
            yield reply
        finally:
            request.__exit__(None, None, None)

    def json(self, path: str, what: str = "") -> Any:
        """The JSON at `path`, not checked. Raises StorageError for what is none, and the refusal."""
        with self.asked("GET", path, what=what) as reply:
            return parsed(self.read(reply), self._words.engine)

    def read(self, reply: HttpResponse) -> bytes:
        """The whole answer. Raises IntegrityError for one that is too large."""
        try:
            return reply.read(_LARGEST_ANSWER)
        except UnreachableError as error:
            raise self._gone(error) from error

    def chunks(self, reply: HttpResponse) -> Iterator[bytes]:
        """The answer as it comes."""
        try:
            yield from reply.chunks()
        except UnreachableError as error:
            raise self._gone(error) from error

    def _said(self, reply: HttpResponse) -> str:
        raw = self.read(reply)
        try:
            said = str(described(parsed(raw, self._words.engine), self._words.engine)["message"])
        except (StorageError, KeyError):
            said = raw[:500].decode(errors="replace")
        return said.strip() or f"status {reply.status}"

    def _gone(self, error: UnreachableError) -> HostError:
        who, socket = self._words.who, self._socket
        if not is_there(socket):
            return HostError(f"{who} does not run here: there is no socket {socket}", self._words.start)
        if not os.access(socket, os.R_OK | os.W_OK):
            return HostError(f"this user may not speak with {who}: {socket} is not open to it", self._words.closed)
        return HostError(f"{who} does not answer: {error.message}", self._words.start)


def socket_path(text: str, what: str, who: str, example: str) -> Path:
    """The socket at `unix://PATH` or `PATH`, which is absolute. Raises UsageError for an engine reached otherwise."""
    path = text.removeprefix("unix://")
    if not path.startswith("/"):
        shown = printable(_without_secrets(text), 200)
        raise UsageError(
            f"{what} is {shown!r}, but polyarch speaks with {who} over a unix socket only",
            f"name the socket: {example}",
        )
    return Path(path)


def _without_secrets(text: str) -> str:
    """An address without the password that it may hold."""
    return re.sub(r"(//[^/:@]*):[^/]*@", r"\1:…@", text)
