"""Ending a rollout from a signal handler or another thread."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Collection, Iterable, Iterator
from typing import Protocol

_SLICE = 1.0
"""Seconds that are waited at once: a signal that comes just before a wait begins is looked at when it is over."""


class UnderWay(Protocol):
    """Devices that something is done with: an Attempt, or the run of a fleet engine."""

    def skip(self, devices: Iterable[str]) -> None:
        """Do not begin with these any more."""

    def end(self) -> None:
        """End what is under way."""


class Interrupt:
    """`cancel` once: what is under way goes on to its end, and nothing more begins. `end`: that ends, too.

    Both only set a flag and wake who waits, by a `SimpleQueue`, whose `put` is reentrant: so they may be called from a
    signal handler, whatever the interrupted thread is at.
    """

    def __init__(self) -> None:
        self.cancelled = self.ended = False
        self._wake: queue.SimpleQueue[None] = queue.SimpleQueue()

    def cancel(self) -> None:
        """Begin nothing more."""
        self.cancelled = True
        self._wake.put(None)

    def end(self) -> None:
        """End what is under way, and begin nothing more."""
        self.cancelled = self.ended = True
        self._wake.put(None)

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or at once when cancelled."""
        until = time.monotonic() + seconds
        while not self.cancelled and (left := until - time.monotonic()) > 0:
            with contextlib.suppress(queue.Empty):
                self._wake.get(timeout=min(left, _SLICE))

    def tell(self, under_way: UnderWay, devices: Collection[str]) -> None:
        """Let it, of these devices, know what has been asked for so far. It may be told twice."""
        if self.cancelled:
            under_way.skip(devices)
        if self.ended:
            under_way.end()

    @contextlib.contextmanager
    def watching(self, under_way: UnderWay, devices: Collection[str]) -> Iterator[None]:
        """Meanwhile, let it know at once, also while its thread waits for what happens."""
        over = False

        def watch() -> None:
            while not over:
                self.tell(under_way, devices)
                self._wake.get()

        thread = threading.Thread(target=watch, name="rollout interrupt", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over = True
            self._wake.put(None)
            thread.join()
