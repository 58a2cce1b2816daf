"""A unix socket in front of another one that lets through only so much of what a client sends."""

from __future__ import annotations

import contextlib
import socket
import threading
from pathlib import Path


class UnixRelay:
    """Passes everything on, both ways, until a connection has sent `limit` bytes: `reached` is set then.

    What comes after is dropped, without a word to the client.
    """

    def __init__(self, path: Path, target: Path, limit: int) -> None:
        self.path = path
        self.reached = threading.Event()
        self._target, self._limit = str(target), limit
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                engine = socket.socket(socket.AF_UNIX)
                engine.connect(self._target)
                self._open += [client, engine]
                for source, sink, limit in ((client, engine, self._limit), (engine, client, None)):
                    threading.Thread(target=self._pass_on, args=(source, sink, limit), daemon=True).start()

    def _pass_on(self, source: socket.socket, sink: socket.socket, limit: int | None) -> None:
        left = limit
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                if left is not None:
                    data = data[:left]
                    left -= len(data)
                    if not left:
                        self.reached.set()
                sink.sendall(data)
        for each in (source, sink):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)

    def stop(self) -> None:
        """Take no further connections, and end those that there are."""
        for each in (self._listener, *self._open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()
