"""Observers hear everything in order, in a thread of their own, and hold nobody up."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from polyarch import observers
from polyarch.contract.others import Observer
from polyarch.events import BlobProgress, Event, Warned
from polyarch.observers import AT_EASE, Observers

Makers = dict[str, Callable[[], Observer]]


class Hears:
    """Remembers what it hears, and in which threads; waits for `go` before the first event."""

    def __init__(self, go: threading.Event | None = None) -> None:
        self.heard: list[Event] = []
        self.threads: set[threading.Thread] = set()
        self.busy = threading.Event()
        self._go = go

    def notify(self, event: Event) -> None:
        self.busy.set()
        if self._go is not None:
            self._go.wait()
        self.heard.append(event)
        self.threads.add(threading.current_thread())


@pytest.fixture
def told() -> list[str]:
    """The sentences for the user."""
    return []


@pytest.fixture
def go() -> Iterator[threading.Event]:
    """What an observer waits for; comes at the end at the latest."""
    event = threading.Event()
    yield event
    event.set()


def over(told: list[str], **makers: Callable[[], Observer]) -> Observers:
    return Observers(lambda: list(makers.items()), told.append)


def test_each_hears_all_in_order_in_one_thread_of_its_own(told: list[str]) -> None:
    one, two = Hears(), Hears()
    all_of_them = over(told, one=lambda: one, two=lambda: two)
    events = [Warned(str(number)) for number in range(1000)]
    for event in events:
        all_of_them.notify(event)
    all_of_them.close()
    for hears in (one, two):
        assert hears.heard == events
        assert len(hears.threads) == 1
    assert not (one.threads & two.threads)
    assert threading.current_thread() not in one.threads
    assert told == []


def test_it_is_made_in_its_thread(told: list[str]) -> None:
    """What a factory opens (a database) may be bound to the thread; and a factory that hangs holds nobody up."""
    made_in: list[threading.Thread] = []
    hears = Hears()

    def make() -> Observer:
        made_in.append(threading.current_thread())
        return hears

    all_of_them = over(told, one=make)
    all_of_them.notify(Warned("x"))
    all_of_them.close()
    assert set(made_in) == hears.threads


def test_without_events_nothing_is_made(told: list[str]) -> None:
    def fail() -> list[tuple[str, Callable[[], Observer]]]:
        raise AssertionError("nobody asked")

    Observers(fail, told.append).close()


def test_one_that_hangs_is_told_and_holds_nobody_up(
    told: list[str], go: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(observers, "PATIENCE", 0.01)
    hangs, well = Hears(go), Hears()
    all_of_them = over(told, hangs=lambda: hangs, well=lambda: well)
    for number in range(100):
        all_of_them.notify(Warned(str(number)))
    all_of_them.close()
    assert told == ["observer hangs is passed over: it is not done 0 s after everything else"]
    assert hangs.heard == []


def test_the_others_are_waited_for(told: list[str]) -> None:
    hears = Hears()
    all_of_them = over(told, one=lambda: hears)
    all_of_them.notify(Warned("x"))
    all_of_them.settle()
    assert hears.heard == [Warned("x")]
    all_of_them.notify(Warned("y"))
    all_of_them.close()
    assert hears.heard == [Warned("x"), Warned("y")]


def test_progress_is_left_out_where_one_falls_behind(told: list[str], go: threading.Event) -> None:
    slow = Hears(go)
    all_of_them = over(told, slow=lambda: slow)
    all_of_them.notify(Warned("first"))
    slow.busy.wait()
    for number in range(10 * AT_EASE):
        all_of_them.notify(BlobProgress("sha256:0", 1, number))
    all_of_them.notify(Warned("last"))
    go.set()
    all_of_them.close()
    assert len(slow.heard) <= AT_EASE + 3
    assert (slow.heard[0], slow.heard[-1]) == (Warned("first"), Warned("last"))
    assert told == []


def test_one_far_behind_is_passed_over(told: list[str], go: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(observers, "MOST", 10)
    slow = Hears(go)
    all_of_them = over(told, slow=lambda: slow)
    all_of_them.notify(Warned("first"))
    slow.busy.wait()
    for number in range(20):
        all_of_them.notify(Warned(str(number)))
    assert told == ["observer slow is passed over: it is 10 events behind"]
    go.set()
    all_of_them.close()
    assert len(told) == 1
    assert slow.heard in ([], [Warned("first")])  # it may still be at it


def test_threads_may_all_tell(told: list[str]) -> None:
    hears = Hears()
    all_of_them = over(told, one=lambda: hears)
    threads = [threading.Thread(target=lambda: [all_of_them.notify(Warned("x")) for _ in range(100)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    all_of_them.close()
    assert len(hears.heard) == 800


def test_its_thread_ends(told: list[str]) -> None:
    hears = Hears()
    all_of_them = over(told, one=lambda: hears)
    all_of_them.notify(Warned("x"))
    all_of_them.close()
    for thread in hears.threads:
        thread.join(60)
        assert not thread.is_alive()
