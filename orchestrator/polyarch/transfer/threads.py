"""The same for many things, several of them at a time, ended together."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import TypeVar

from polyarch.transfer.blob import Cancelled

T = TypeVar("T")
R = TypeVar("R")

_GRACE = 0.5
"""Seconds that the others get to stop after one failed; a read from a silent network may take longer."""


def at_once(
    work: Callable[[T], R], things: Iterable[T], most: int, cancelled: threading.Event | None = None
) -> list[R]:
    """`work` for each thing, in at most `most` threads; the results in the order of the things.

    The first that raises ends it, and so does Ctrl-C. With `cancelled`, which is set in the end, what is under way
    then raises Cancelled as soon as it can, and is waited for a moment; without it, it is not.
    """
    waiting = deque(enumerate(things))
    count = len(waiting)
    outcomes: SimpleQueue[tuple[int, R] | BaseException] = SimpleQueue()

    def run() -> None:
        try:
            while True:
                try:
                    number, thing = waiting.popleft()
                except IndexError:
                    return
                outcomes.put((number, work(thing)))
        except Cancelled:
            return
        except BaseException as error:
            outcomes.put(error)

    # Daemons: one that hears nothing from the network must not hold back the end of the process.
    threads = [threading.Thread(target=run, name=f"at-once-{i}", daemon=True) for i in range(min(most, count))]
    results: dict[int, R] = {}
    try:
        for thread in threads:
            thread.start()
        while len(results) < count:
            outcome = outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            results[outcome[0]] = outcome[1]
    finally:
        waiting.clear()
        if cancelled is not None:
            cancelled.set()
            _wait_for(threads)
    return [results[number] for number in range(count)]


def _wait_for(threads: Iterable[threading.Thread]) -> None:
    deadline = time.monotonic() + _GRACE
    for thread in threads:
        if thread.is_alive():
            thread.join(max(deadline - time.monotonic(), 0))
