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


class Console:
    """Waits at a socket in `directory` for the container's terminal. `interactive`: what is typed goes to it."""

    def __init__(self, directory: Path, *, interactive: bool) -> None:
        self.path = directory / "console"
        self._interactive = interactive
        self._terminal: int | None = None
        self._settings: list[object] | None = None
        self._stop, self._stopped = os.pipe()
        self._listener = socket.socket(socket.AF_UNIX)
        # A socket's path has 107 bytes at most, so it is bound by a shorter one to the same place.
        place = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            self._listener.bind(f"/proc/self/fd/{place}/console")
        finally:
            os.close(place)
        self._listener.listen(1)
        self._output = threading.Thread(target=self._copy_output, daemon=True)
        self._input = threading.Thread(target=self._copy_input, daemon=True)

    def start(self) -> None:
        """Begin to wait for the terminal, now that the runtime runs."""
        self._output.start()

    def resize(self) -> None:
        """Give the container's terminal the size of ours."""
        if self._terminal is not None:
            with contextlib.suppress(OSError):
                size = fcntl.ioctl(_OUR_INPUT, termios.TIOCGWINSZ, bytes(8))
                fcntl.ioctl(self._terminal, termios.TIOCSWINSZ, size)

    def close(self) -> None:
        """The container has ended: the rest of its output is written, and our terminal is as it was."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)  # if nobody ever came
        if self._output.ident is not None:
            self._output.join()
        os.close(self._stopped)
        if self._input.ident is not None:
            self._input.join()
        os.close(self._stop)
        if self._settings is not None:
            termios.tcsetattr(_OUR_INPUT, termios.TCSADRAIN, self._settings)  # type: ignore[arg-type]
        if self._terminal is not None:
            os.close(self._terminal)
        self._listener.close()

    def _copy_output(self) -> None:
        with contextlib.suppress(OSError):  # nobody came; at the end the terminal is closed from inside
            connection, _ = self._listener.accept()
            with connection:
                _, received, _, _ = socket.recv_fds(connection, 4096, 1)
            (self._terminal,) = received
            self.resize()
            self._settings = termios.tcgetattr(_OUR_INPUT)
            tty.setraw(_OUR_INPUT, termios.TCSANOW)
            if self._interactive:
                self._input.start()
            while data := os.read(self._terminal, _CHUNK):
                _write(_OUR_OUTPUT, data)
        if self._terminal is not None:
            # If nobody takes the output any more, the container is told so: its terminal hangs up.
            nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
            os.dup2(nothing, self._terminal, inheritable=False)
            os.close(nothing)

    def _copy_input(self) -> None:
        assert self._terminal is not None
        with contextlib.suppress(OSError):
            while True:
                ready, _, _ = select.select([_OUR_INPUT, self._stop], [], [])
                if self._stop in ready:
                    return
                data = os.read(_OUR_INPUT, _CHUNK)
                if not data:
                    return
                _write(self._terminal, data)


def terminal_size() -> tuple[int, int] | None:
    """Rows and columns of the terminal that this process's input is; None if it is none."""
    try:
        columns, rows = os.get_terminal_size(_OUR_INPUT)
    except OSError:
        return None
    return rows, columns


def _write(number: int, data: bytes) -> None:
    while data:
        data = data[os.write(number, data) :]
