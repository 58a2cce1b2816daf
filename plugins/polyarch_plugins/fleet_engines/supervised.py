"""A command that ends with all that it started, when it is to end and when this process dies."""

from __future__ import annotations

import contextlib
import os
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
    gone; "" for none. `folder` is removed where it is ended from here or this process dies. Raises HostError where it
    cannot be started.
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
        reader, self._control = os.pipe()
        self._lock = threading.Lock()
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_SUPERVISOR), str(reader), mark, str(folder or ""), *argv],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=stderr,
                env=dict(environ),
                pass_fds=(reader,),
                start_new_session=True,
                bufsize=0,
            )
        except (OSError, ValueError) as error:
            os.close(self._control)
            words = getattr(error, "strerror", None) or error
            raise HostError(f"{argv[0]} cannot be started: {words}") from error
        finally:
            os.close(reader)
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
            if self._control >= 0:
                os.write(self._control, f"{line}\n".encode())

    def end(self) -> None:
        """End everything; from any thread, any number of times."""
        with self._lock:
            if self._control >= 0:
                os.close(self._control)
                self._control = -1

    def wait(self) -> int:
        """The command's exit code, once it and all that it started are gone."""
        try:
            return self._process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            return -1

    def close(self) -> None:
        """End it, and wait for that."""
        self.end()
        self.wait()
        for stream in (self._process.stdout, self._process.stderr):
            if stream is not None:
                stream.close()
