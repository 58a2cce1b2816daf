"""The commands of engines: run one after the other or at once, ended with who asked, their output bounded."""

from __future__ import annotations

import contextlib
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from polyarch.contract import HostError, StorageError

MAX_OUTPUT = 64 << 20
"""Bytes of standard output that are read."""

PATIENCE = 300.0
"""Seconds for an answer: an engine may wait for another one that unpacks a layer on a slow card."""

_MAX_ERRORS = 64 << 10
_CHUNK = 1 << 14
_GRACE = 5.0
"""Seconds that a command gets to end."""


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended, and what it said; `errors` is the end of its standard error."""

    code: int
    output: bytes
    errors: str


class Programs:
    """The commands that run now. May be used from several threads at once.

    `install` is the hint where the program lacks, `test` the one where it cannot be started or does not answer.
    """

    def __init__(self, environ: Mapping[str, str], install: str, test: str) -> None:
        self._environ, self._install, self._test = environ, install, test
        self._running: set[subprocess.Popen[bytes]] = set()
        self._idle = threading.Condition()

    def run(self, argv: Sequence[str], seconds: float | None = PATIENCE, **variables: str) -> Done:
        """Run a command to its end, within `seconds` if there is a limit, with more `variables` in its environment.

        Raises HostError where it cannot be started or takes too long, StorageError where it says too much.
        """
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={**self._environ, **variables},
            )
        except FileNotFoundError as error:
            raise HostError(f"there is no program {argv[0]} here", self._install) from error
        except (OSError, ValueError) as error:
            words = getattr(error, "strerror", None) or error
            raise HostError(f"{argv[0]} cannot be started: {words}", self._test) from error
        with self._idle:
            self._running.add(process)
        late = threading.Event()

        def end() -> None:
            late.set()
            process.kill()

        timer = threading.Timer(seconds, end) if seconds else None
        try:
            if timer:
                timer.start()
            output, errors = _communicated(process)
        finally:
            if timer:
                timer.cancel()
            with self._idle:
                self._running.discard(process)
                self._idle.notify_all()
        if late.is_set():
            raise HostError(f"{argv[0]} did not answer within {seconds:g} seconds", self._test)
        if len(output) > MAX_OUTPUT:
            raise StorageError(f"{argv[0]} said more than {MAX_OUTPUT} bytes")
        return Done(process.returncode, output, errors.decode(errors="replace"))

    def close(self) -> None:
        """End what still runs: nobody waits for it any more."""
        with self._idle:
            for process in self._running:
                process.terminate()
            self._idle.wait_for(lambda: not self._running, _GRACE)


def _communicated(process: subprocess.Popen[bytes]) -> tuple[bytes, bytes]:
    """What a process says until it ends; it is killed when it says more than MAX_OUTPUT, or when nobody waits."""
    assert process.stdout is not None
    assert process.stderr is not None
    output, tail = bytearray(), bytearray()
    drain = threading.Thread(target=_drain, args=(process.stderr, tail), daemon=True)
    with process:
        try:
            drain.start()
            while len(output) <= MAX_OUTPUT and (data := process.stdout.read(_CHUNK)):
                output += data
            if len(output) > MAX_OUTPUT:
                process.kill()
            drain.join()
        except BaseException:
            process.kill()
            raise
    return bytes(output), bytes(tail)


def _drain(stream: IO[bytes], tail: bytearray) -> None:
    with contextlib.suppress(ValueError):  # closed by who gave up
        while data := stream.read(_CHUNK):
            tail += data
            del tail[:-_MAX_ERRORS]
