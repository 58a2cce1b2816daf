"""Giving bytes to the standard input of what runs, piece by piece."""

from __future__ import annotations

import contextlib
import errno
import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

from polyarch.contract import PolyarchError

_AGAIN = 0.02
"""Seconds between two looks whether somebody reads a FIFO."""


class Feeder:
    """A thread that gives what `pieces` yields to whoever reads `target`: a FIFO, or a descriptor that it then owns.

    It ends after the last piece, when the reader is gone, and soon after `stop`. Where making the pieces fails, the
    reader never sees an end that is none: `failed` is called, and the reader has to be ended.
    """

    def __init__(self, pieces: Callable[[], Iterable[bytes]], target: Path | int, failed: Callable[[], None]) -> None:
        self.error = ""
        self._pieces, self._target, self._failed = pieces, target, failed
        self._stopped = threading.Event()
        threading.Thread(target=self._run, name="polyarch-feeder", daemon=True).start()

    def stop(self) -> None:
        """Nobody reads any more."""
        self._stopped.set()

    def _run(self) -> None:
        descriptor = self._target if isinstance(self._target, int) else self._opened(self._target)
        if descriptor is None:
            return
        try:
            self._feed(descriptor)
        except BrokenPipeError:
            pass
        except Exception as error:  # whatever makes the pieces
            self.error = error.message if isinstance(error, PolyarchError) else f"{type(error).__name__}: {error}"
            self._failed()
            self._stopped.wait()
        finally:
            os.close(descriptor)

    def _feed(self, descriptor: int) -> None:
        pieces = self._pieces()
        try:
            for piece in pieces:
                rest = memoryview(piece)
                while rest and not self._stopped.is_set():
                    rest = rest[os.write(descriptor, rest) :]
                if self._stopped.is_set():
                    return
        finally:
            close = getattr(pieces, "close", None)
            if close is not None:
                with contextlib.suppress(Exception):
                    close()

    def _opened(self, path: Path) -> int | None:
        """The FIFO, once somebody reads it."""
        while not self._stopped.is_set():
            try:
                descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            except OSError as error:
                if error.errno != errno.ENXIO:
                    return None
                self._stopped.wait(_AGAIN)
            else:
                os.set_blocking(descriptor, True)
                return descriptor
        return None
