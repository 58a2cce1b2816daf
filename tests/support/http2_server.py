"""A server that speaks HTTP/2 over TLS, and as wrongly as a test says."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

import h2.config
import h2.connection
import h2.events
import h2.exceptions

from support.certificates import self_signed

_STEP = 16 << 10
Fields = list[tuple[str, str]]


class Stream:
    """One request's answer."""

    def __init__(
        self, connection: h2.connection.H2Connection, opened: socket.socket, number: int, fields: dict[str, str]
    ) -> None:
        """`fields` are the request's, those that begin with a colon among them."""
        self._h2, self._opened, self._number, self.fields = connection, opened, number, fields
        self.path = fields[":path"]
        self.sent = 0

    def head(self, status: int, fields: Fields | None = None, *, end: bool = False) -> None:
        self._h2.send_headers(self._number, [(":status", str(status)), *(fields or [])], end_stream=end)
        self.flush()

    def data(self, data: bytes, *, end: bool = False) -> None:
        """Send as much as the client takes at a time."""
        while data or end:
            window = min(self._h2.local_flow_control_window(self._number), _STEP)
            if window <= 0:
                self._take()
                continue
            part, data = data[:window], data[window:]
            self._h2.send_data(self._number, part, end_stream=end and not data)
            self.sent += len(part)
            self.flush()
            if not data:
                return

    def raw(self, data: bytes) -> None:
        """Anything, up to 256 MiB of it."""
        self._opened.sendall(data)
        self.sent += len(data)
        if self.sent > 1 << 28:
            raise ConnectionError

    def flush(self) -> None:
        self._opened.sendall(self._h2.data_to_send())

    def _take(self) -> None:
        data = self._opened.recv(65536)
        if not data:
            raise ConnectionError
        for event in self._h2.receive_data(data):
            if isinstance(event, h2.events.StreamReset | h2.events.ConnectionTerminated):
                raise ConnectionError


class Http2Server:
    """`answer` is given each request's stream. `sent` is the most of a body that was sent. It speaks nothing else."""

    def __init__(self, folder: Path, answer: Callable[[Stream], None], protocols: Iterable[str] = ("h2",)) -> None:
        key, self.certificate = self_signed(folder)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(self.certificate, key)
        self._context.set_alpn_protocols(list(protocols))
        self._answer = answer
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=16)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.sent = 0
        self.requests: list[str] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                opened, _ = self._listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(opened,), daemon=True).start()

    def _serve(self, plain: socket.socket) -> None:
        with contextlib.suppress(OSError, h2.exceptions.ProtocolError), plain:
            plain.settimeout(20)
            with self._context.wrap_socket(plain, server_side=True) as opened:
                if opened.selected_alpn_protocol() != "h2":
                    return
                connection = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False))
                connection.initiate_connection()
                opened.sendall(connection.data_to_send())
                while data := opened.recv(65536):
                    for event in connection.receive_data(data):
                        if isinstance(event, h2.events.RequestReceived):
                            self._request(connection, opened, event)
                    opened.sendall(connection.data_to_send())

    def _request(
        self, connection: h2.connection.H2Connection, opened: ssl.SSLSocket, event: h2.events.RequestReceived
    ) -> None:
        fields = {_text(name): _text(value) for name, value in event.headers}
        stream = Stream(connection, opened, event.stream_id, fields)
        self.requests.append(stream.path)
        try:
            self._answer(stream)
        finally:
            self.sent = max(self.sent, stream.sent)

    def stop(self) -> None:
        self._listener.close()


def _text(value: bytes | str) -> str:
    return value.decode() if isinstance(value, bytes) else value
