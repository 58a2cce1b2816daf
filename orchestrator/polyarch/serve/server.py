"""The server around the application: uvicorn on one socket, in a thread of its own."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import FrameType
from typing import TYPE_CHECKING

from polyarch.errors import HostError
from polyarch.serve.address import LOOPBACK, format_address
from polyarch.serve.offer import Servable
from polyarch.signals import ending_signals

if TYPE_CHECKING:
    import uvicorn

GRACE = 2
"""Seconds that running answers have when the server ends."""


def serve_forever(storage: Servable, host: str, port: int, on_ready: Callable[[str], None]) -> None:
    """Offer `storage` until SIGINT, SIGTERM or SIGHUP comes; then return. For the main thread only.

    `on_ready` is told the address, as it stands in front of a reference (`127.0.0.1:41235`), once it can be connected
    to. Raises HostError: no such address, port in use, starlette or uvicorn missing.
    """
    end = threading.Event()

    def stop(number: int, frame: FrameType | None) -> None:
        end.set()

    before = {number: signal.signal(number, stop) for number in ending_signals()}
    try:
        with serving(storage, host, port, on_end=end.set) as ready:
            on_ready(ready)
            end.wait()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def serving(
    storage: Servable, host: str = LOOPBACK, port: int = 0, on_end: Callable[[], None] | None = None
) -> Iterator[str]:
    """Offer `storage` while the body runs, which gets HOST:PORT.

    `on_end` is called, in the server's thread, when the server ends, also of itself; what made it fail is raised at
    the end of the body. Raises HostError as `serve_forever`.
    """
    with _listen(host, port) as listener:
        server = _server(storage)
        with ThreadPoolExecutor(1, "polyarch-serve") as thread:
            running = thread.submit(server.run, sockets=[listener])
            if on_end:
                running.add_done_callback(lambda _: on_end())
            try:
                yield format_address(*listener.getsockname()[:2])
            finally:
                server.should_exit = True
                running.result()


def _server(storage: Servable) -> uvicorn.Server:
    try:
        import uvicorn

        from polyarch.serve.app import app
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        raise HostError(f"serve needs {missing}, which is not installed", "pip install 'polyarch[serve]'") from error
    config = uvicorn.Config(
        app(storage),
        loop="asyncio",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="critical",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACE,
    )
    return uvicorn.Server(config)


def _listen(host: str, port: int) -> socket.socket:
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        return socket.create_server(place, family=family, backlog=1024)
    except OSError as error:
        hint = None
        if error.errno == errno.EADDRINUSE:
            hint = "choose another port, or port 0 for a free one"
        # create_server adds words of its own to the kernel's; a name that is not found has no number of the kernel's.
        reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise HostError(f"cannot listen at {format_address(host, port)}: {reason}", hint) from error
