"""The terminal of a container, joined with the one that this process was started on.

The runtime makes it and hands it over through a socket (OCI runtime command line interface, `--console-socket`). crun
could join them itself, but before 1.8.7 it passes no change of size on, and after that it dies of one without a
terminal (containers/crun, 1262 and 1442).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import socket
import termios
import threading
import tty
from pathlib import Path

_CHUNK = 1 << 16
_OUR_INPUT, _OUR_OUTPUT = 0, 1


CONSOLE = "console"
"""The socket in a container's directory that its terminal comes through."""


def listen(directory: Path) -> socket.socket:
    """That socket, waiting for the runtime."""
    listener = socket.socket(socket.AF_UNIX)
    # A socket's path has 107 bytes at most, so it is bound by a shorter one to the same place.
    place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{place}/{CONSOLE}")
    finally:
        os.close(place)
    listener.listen(1)
    return listener


class Console:
    """Waits at a socket in `directory` for the container's terminal. `interactive`: what is typed goes to it."""

    def __init__(self, directory: Path, *, interactive: bool) -> None:
        self.path = directory / CONSOLE
        self._interactive = interactive
        self._terminal: int | None = None
        self._settings: list[object] | None = None
        self._stop, self._stopping = os.pipe()
        self._resizing = threading.Lock()
        self._listener = listen(directory)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def start(self) -> None:
        """Begin to wait for the terminal, now that the runtime runs."""
        self._thread.start()

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        if self._terminal is not None:
            with self._resizing, contextlib.suppress(OSError):  # a size that was read earlier never comes later
                size = fcntl.ioctl(_OUR_INPUT, termios.TIOCGWINSZ, bytes(8))
                fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def close(self) -> None:
        """The container has ended: the rest of its output is written, and our terminal is as it was."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # if nobody ever came
        os.close(self._stopping)
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._stop)
        if self._settings is not None:
            with contextlib.suppress(termios.error):  # it is gone
                termios.tcsetattr(_OUR_INPUT, termios.TCSADRAIN, self._settings)  # type: ignore[arg-type]
        if self._terminal is not None:
            os.close(self._terminal)
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError, termios.error):  # nobody came; or the container, or our terminal, has ended
            connection, _ = self._listener.accept()
            with connection:
                _, received, _, _ = socket.recv_fds(connection, 4096, 1)
            (self._terminal,) = received
            os.set_blocking(self._terminal, False)
            self.resize()
            self._settings = termios.tcgetattr(_OUR_INPUT)
            tty.setraw(_OUR_INPUT, termios.TCSANOW)
            self._join(self._terminal)
        if self._terminal is not None:
            # Whoever is still there is told that nobody is at the terminal any more: it hangs up.
            nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(nothing, self._terminal, inheritable=False)
            os.close(nothing)

    def _join(self, terminal: int) -> None:
        """Copy both ways, until one of the two is gone (OSError) or the input ends."""
        typed = b""
        sources = [terminal, self._stop, *([_OUR_INPUT] if self._interactive else [])]
        while True:
            # While something typed waits to be taken, nothing more is read.
            reading = [each for each in sources if each != _OUR_INPUT or not typed]
            ready, _, _ = select.select(reading, [terminal] if typed else [], [])
            if terminal in ready:
                _write(_OUR_OUTPUT, os.read(terminal, _CHUNK))
            if self._stop in ready:
                sources = [terminal]  # read on to its end
            if _OUR_INPUT in ready:
                typed = os.read(_OUR_INPUT, _CHUNK)
                if not typed:
                    return
                self.resize()  # what was typed after a change of size is read after it: the signal may come late
            with contextlib.suppress(BlockingIOError):
                typed = typed[os.write(terminal, typed) :] if typed else b""


def _write(number: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(number, data) :]
        except BlockingIOError:  # somebody else's setting of the same terminal
            select.select([], [number], [])
