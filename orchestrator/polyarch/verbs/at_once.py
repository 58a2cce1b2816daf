"""The same for many things, several of them at a time."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def at_once(work: Callable[[T], R], things: Iterable[T], most: int) -> list[R]:
    """`work` for each thing, in at most `most` threads; the results in the order of the things.

    The first that raises ends it, and so does Ctrl-C: what is under way then is not waited for.
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
        except BaseException as error:
            outcomes.put(error)

    results: dict[int, R] = {}
    try:
        for i in range(min(most, count)):
            # Daemons: one that hears nothing from the network must not hold back the end of the process.
            threading.Thread(target=run, name=f"at-once-{i}", daemon=True).start()
        while len(results) < count:
            outcome = outcomes.get()
            if isinstance(outcome, BaseException):
                raise outcome
            results[outcome[0]] = outcome[1]
    finally:
        waiting.clear()
    return [results[number] for number in range(count)]
