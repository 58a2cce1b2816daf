"""Many things done ahead of those who need them, several at a time, in the order of the need."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Sequence
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def in_turn(work: Callable[[T], R], things: Sequence[T], most: int) -> Generator[R, None, None]:
    """`work` for each thing, in at most `most` threads; the results in the order of the things.

    At most twice as many results as threads wait to be taken. What `work` raises is raised in its turn. Closing the
    iterator begins nothing more, and waits for nobody.
    """
    changed = threading.Condition()
    done: dict[int, R | BaseException] = {}
    state = {"begun": 0, "taken": 0, "over": 0}

    def run() -> None:
        while True:
            with changed:
                changed.wait_for(lambda: state["over"] or state["begun"] < state["taken"] + 2 * most)
                number = state["begun"]
                if state["over"] or number == len(things):
                    return
                state["begun"] += 1
            outcome: R | BaseException
            try:
                outcome = work(things[number])
            except BaseException as error:
                outcome = error
            with changed:
                done[number] = outcome
                changed.notify_all()

    # Daemons: one that hears nothing from the network must not hold back the end of the process.
    for i in range(min(most, len(things))):
        threading.Thread(target=run, name=f"in-turn-{i}", daemon=True).start()
    try:
        for number in range(len(things)):
            with changed:
                while number not in done:
                    changed.wait()
                outcome = done.pop(number)
                state["taken"] += 1
                changed.notify_all()
            if isinstance(outcome, BaseException):
                raise outcome
            yield outcome
    finally:
        with changed:
            state["over"] = 1
            changed.notify_all()
