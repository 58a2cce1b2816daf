"""Starting, awaiting and ending the servers that tests use; each is ended by its own process ID."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from http.client import HTTPConnection, HTTPException
from pathlib import Path


def free_port(host: str = "127.0.0.1") -> int:
    """A port of the address that nobody listened on a moment ago."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def await_true(condition: Callable[[], bool], what: str, seconds: float = 30, *, every: float = 0.02) -> None:
    """Waits until the condition holds; AssertionError that names `what` after so many seconds.

    It is asked `every` so many seconds: less often where that is dear.
    """
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds} s"
        time.sleep(every)


def answers(address: str) -> bool:
    """True once something speaks HTTP at `host:port`."""
    connection = HTTPConnection(address, timeout=5)
    try:
        connection.request("GET", "/")
        connection.getresponse().read()
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
    return True


class Server:
    """A server program with its output in a file. `ready` is asked until it is true."""

    def __init__(self, argv: list[str], log: Path, ready: Callable[[], bool]) -> None:
        self.log = log
        with log.open("wb") as output:
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
        try:
            await_true(lambda: self._ended() or ready(), f"{argv[0]} answers")
            assert not self._ended(), f"{argv[0]} ended: {log.read_text()[-2000:]}"
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        """Ends the server; it may have ended before."""
        if not self._ended():
            self._process.terminate()
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()

    def _ended(self) -> bool:
        return self._process.poll() is not None
