"""Several transfers at once, ended together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TypeVar

from polyarch.transfer.blob import Cancelled

T = TypeVar("T")
R = TypeVar("R")

_GRACE = 0.5
"""Seconds that the other transfers get to stop after one failed; a read from a silent network may take longer."""


def in_threads(work: Callable[[T], R], things: Sequence[T], most: int, cancelled: threading.Event) -> list[R]:
    """`work` for each of the things, in at most `most` threads; results as they come.

    `cancelled` is set in the end, at the first failure too: `work` then raises Cancelled as soon as it can. Raises what
    the first one to fail raised.
    """
    waiting = deque(things)
    outcomes: SimpleQueue[R | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            while not cancelled.is_set():
                try:
                    thing = waiting.popleft()
                except IndexError:
                    return
                outcomes.put(work(thing))
        except Cancelled:
            return
        except BaseException as error:
            outcomes.put(error)

    # Daemons: one that hears nothing from the network must not hold back the end of the process.
    threads = [threading.Thread(target=run, name=f"transfer-{i}", daemon=True) for i in range(min(most, len(things)))]
    results: list[R] = []
    try:
        for thread in threads:
            thread.start()
        while len(results) < len(things):
            outcome = outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            results.append(outcome)
    finally:
        cancelled.set()
        deadline = time.monotonic() + _GRACE
        for thread in threads:
            if thread.is_alive():
                thread.join(max(deadline - time.monotonic(), 0))
    return results
