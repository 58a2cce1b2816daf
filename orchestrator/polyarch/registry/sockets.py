"""Sockets as httpcore is to use them: looked at once connected, read in large parts, and woken when all ends."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import httpcore

from polyarch.limits import LEAST_PROGRESS
from polyarch.registry.faults import forbidden
from polyarch.registry.origin import is_private_to_machine
from polyarch.registry.receiving import received
from polyarch.registry.watch import Watch

READ_SIZE = 256 << 10
"""Bytes asked of a socket at once: 1 MiB is no faster, and costs 20 MB more memory with four connections."""


class Sockets:
    """The sockets in use, so that those who wait on them can be woken."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._open: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._shut = False
        self.reached: dict[str, str] = {}
        """By host name, the address that was reached in the end, where others before it did not answer in time."""

    def add(self, opened: socket.socket) -> None:
        with self._lock:
            self._open.add(opened)
            late = self._shut
        if late:
            _shut(opened)

    def shut(self) -> None:
        with self._lock:
            self._shut = True
            waiting = list(self._open)
        for opened in waiting:
            _shut(opened)


def _shut(opened: socket.socket) -> None:
    with contextlib.suppress(OSError):
        opened.shutdown(socket.SHUT_RDWR)


class Backend(httpcore.NetworkBackend):
    """Connects as httpcore does, looks at where it arrived, and reads more at once."""

    def __init__(self, guarded: bool, sockets: Sockets, watch: Watch) -> None:
        """`guarded` refuses link-local and metadata addresses."""
        self._guarded = guarded
        self._sockets = sockets
        self._watch = watch
        self._inner = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        stream = self._connected(host, port, timeout, local_address, socket_options)
        peer = stream.get_extra_info("server_addr")
        if self._guarded and is_private_to_machine(str(peer[0])):
            stream.close()
            raise forbidden(host)
        return Stream(stream, self._sockets, self._watch)

    def _connected(self, host: str, port: int, timeout: float | None, *others: Any) -> httpcore.NetworkStream:
        """All addresses of a name are tried, each for `timeout`; one that is a black hole is waited for once."""
        if known := self._sockets.reached.get(host):
            try:
                return self._inner.connect_tcp(known, port, timeout, *others)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                self._sockets.reached.pop(host, None)
        started = time.monotonic()
        stream = self._inner.connect_tcp(host, port, timeout, *others)
        if timeout is not None and time.monotonic() - started > timeout:
            self._sockets.reached[host] = str(stream.get_extra_info("server_addr")[0])
        return stream

    def connect_unix_socket(
        self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None
    ) -> httpcore.NetworkStream:
        return Stream(self._inner.connect_unix_socket(path, timeout, socket_options), self._sockets, self._watch)


class Stream(httpcore.NetworkStream):
    def __init__(self, inner: httpcore.NetworkStream, sockets: Sockets, watch: Watch, *, tls: int = 0) -> None:
        """`tls` is how many layers of TLS lie between what is read and the socket."""
        self._inner = inner
        self._watch = watch
        self._sockets = sockets
        self._tls = tls
        self._last = b""
        sockets.add(inner.get_extra_info("socket"))

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._watch.talks_on:
            raise httpcore.RemoteProtocolError("it sends much and says nothing")
        self._go_on(timeout)
        started = time.monotonic()
        self._last = self._inner.read(max(max_bytes, READ_SIZE), timeout)
        self._watch.heard(len(self._last), time.monotonic() - started)
        return self._last

    def _go_on(self, timeout: float | None) -> None:
        if self._watch.stands(timeout):
            raise httpcore.ReadTimeout(f"fewer than {LEAST_PROGRESS} bytes came")

    def gave_last(self, size: int) -> bool:
        """True if the first `size` bytes of a body are all that was read of it: h11 has none left.

        They are the whole of what was read last, or what stands in it behind the end of the answer's head.
        """
        head = self._last.find(b"\r\n\r\n")
        return size == len(self._last) or (head >= 0 and size == len(self._last) - head - 4)

    def rest(self, size: int, timeout: float | None) -> Iterator[bytes | memoryview]:
        """The next `size` bytes, as they come; each part is valid until the next one is asked for."""
        parts = self._received(size, timeout)
        while True:
            started = time.monotonic()
            part = next(parts, None)
            if part is None:
                return
            self._watch.heard(len(part), time.monotonic() - started)
            self._watch.body(len(part))
            self._go_on(timeout)
            yield part

    def _received(self, size: int, timeout: float | None) -> Iterator[bytes | memoryview]:
        opened = self._inner.get_extra_info("socket")
        if self._tls < 2 and isinstance(opened, socket.socket):
            yield from received(opened, size, timeout)
            return
        while size:  # TLS within a proxy's TLS: the socket has the outer one's bytes
            chunk = self._inner.read(min(READ_SIZE, size), timeout)
            if not chunk:
                raise httpcore.RemoteProtocolError("the connection was closed before all had come")
            size -= len(chunk)
            yield chunk

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        try:
            if self._tls:
                self._inner.write(buffer, timeout)
            else:
                self._send(buffer, timeout)
        except httpcore.WriteError:
            # A server that wants a client certificate says so (TLS 1.3) after it has closed: that is the better reason.
            # Without TLS there may be an answer, which httpcore will read: it is left whole.
            if self._tls:
                with contextlib.suppress(httpcore.ReadTimeout):
                    self._inner.read(1, 0.1)
            raise

    def _send(self, buffer: bytes, timeout: float | None) -> None:
        """As httpcore writes, which copies what is left after each part that went."""
        opened: socket.socket = self._inner.get_extra_info("socket")
        left = memoryview(buffer)
        try:
            opened.settimeout(timeout)
            while left:
                left = left[opened.send(left) :]
        except TimeoutError as error:
            raise httpcore.WriteTimeout(error) from error
        except OSError as error:
            raise httpcore.WriteError(error) from error

    def close(self) -> None:
        self._inner.close()

    def start_tls(
        self, ssl_context: ssl.SSLContext, server_hostname: str | None = None, timeout: float | None = None
    ) -> httpcore.NetworkStream:
        return Stream(
            self._inner.start_tls(ssl_context, server_hostname, timeout), self._sockets, self._watch, tls=self._tls + 1
        )

    def get_extra_info(self, info: str) -> Any:
        return self._inner.get_extra_info(info)
