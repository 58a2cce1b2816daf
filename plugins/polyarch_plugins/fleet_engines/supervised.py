"""A command that ends with all that it started, when it is to end and when this process dies."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from polyarch.contract import HostError

_SUPERVISOR = Path(__file__).with_name("supervisor.py")
_PATIENCE = 30.0
"""Seconds that what was killed gets to be gone."""


class Supervised:
    """A command under way, in a session of its own, away from the terminal.

    `mark` is a text in the command lines of what it starts: such processes are killed as soon as their parents are
    gone; "" for none. `folder` is removed when this is closed, or this process dies. With `held` the command does not
    begin before `start`. Raises HostError where it cannot be started.
    """

    def __init__(
        self,
        argv: Sequence[str],
        environ: Mapping[str, str],
        *,
        mark: str = "",
        folder: Path | None = None,
        held: bool = False,
        stdin: int = subprocess.DEVNULL,
        stderr: int | IO[bytes] = subprocess.PIPE,
    ) -> None:
        self._control, theirs = socket.socketpair()
        self._lock = threading.Lock()
        self._code: int | None = None
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SUPERVISOR), str(theirs.fileno()), mark, str(folder or ""), *argv],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=dict(environ),
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            self._control.close()
            words = getattr(error, "strerror", None) or error
            raise HostError(f"{argv[0]} cannot be started: {words}") from error
        finally:
            theirs.close()
        if not held:
            self.start()

    def start(self) -> None:
        """Let the command begin; once."""
        self._tell("")

    @property
    def stdout(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def stderr(self) -> IO[bytes]:
        assert self._process.stderr is not None
        return self._process.stderr

    def kill(self, mark: str) -> None:
        """Kill what has this text in its command line, and all below it."""
        self._tell(mark)

    def _tell(self, line: str) -> None:
        with self._lock, contextlib.suppress(OSError):
            self._control.send(f"{line}\n".encode())

    def end(self) -> None:
        """End everything; from any thread, any number of times."""
        with self._lock, contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_WR)

    def wait(self) -> int:
        """The command's exit code, once it and all that it started are gone; -1 where that is not to be learnt."""
        if self._code is None:
            self._code = self._told()
        return self._code

    def _told(self) -> int:
        self._control.settimeout(_PATIENCE)
        with contextlib.suppress(OSError, ValueError):
            return int(self._control.recv(16))
        return -1

    def close(self) -> None:
        """End it, and wait for that."""
        self.end()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_PATIENCE)
        for stream in (self._control, self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
