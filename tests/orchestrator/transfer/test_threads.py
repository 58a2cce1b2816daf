"""Several at a time: the order of results, the first failure, and who waits for whom."""

from __future__ import annotations

import threading

import pytest

from polyarch.transfer import threads
from polyarch.transfer.blob import Cancelled
from polyarch.transfer.threads import at_once


def test_results_are_in_the_order_of_things() -> None:
    """Whatever ends first: here the last one does, and all that fit are under way together."""
    together = threading.Barrier(3, timeout=30)
    passed = [threading.Event() for _ in range(4)]
    passed[3].set()

    def work(number: int) -> int:
        together.wait()
        assert passed[number + 1].wait(30)
        passed[number].set()
        return number * 10

    assert at_once(work, range(3), 3) == [0, 10, 20]
    assert at_once(work, (), 3) == []


def test_the_first_failure_ends_it() -> None:
    """What has not begun does not begin, and what hangs is not waited for."""
    begun: list[int] = []
    hanging = threading.Event()

    def work(number: int) -> None:
        begun.append(number)
        if number == 0:
            hanging.wait(60)
        raise ValueError(number)

    with pytest.raises(ValueError, match="1"):
        at_once(work, range(100), 2)
    hanging.set()
    assert set(begun) <= {0, 1, 2}


def test_what_can_be_told_to_stop_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_GRACE", 30)
    cancelled, stopped = threading.Event(), threading.Event()

    def work(number: int) -> None:
        if number == 0:
            assert cancelled.wait(30)
            stopped.set()
            raise Cancelled
        raise ValueError(number)

    with pytest.raises(ValueError, match="1"):
        at_once(work, range(2), 2, cancelled)
    assert stopped.is_set()
