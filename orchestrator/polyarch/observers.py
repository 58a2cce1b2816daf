"""Hands events to observers, each in a thread of its own, so that none can hold or break what is observed."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from polyarch.contract.others import Observer
from polyarch.events import BlobProgress, Event
from polyarch.plugin_host.shapes import told

MOST = 10_000
"""Events that wait for an observer; one that is further behind is passed over."""

AT_EASE = 100
"""With more events than this waiting, those that only tell progress are left out."""

PATIENCE = 3.0
"""Seconds that all observers together have to get done with what waits, when everything else is done."""


class Observers:
    """All observers. May be given events from any thread.

    `makers` answers, once, the name of each observer and what makes it; `tell` is given a sentence for the user.
    """

    def __init__(
        self, makers: Callable[[], Sequence[tuple[str, Callable[[], Observer]]]], tell: Callable[[str], None]
    ) -> None:
        self._makers, self._tell = makers, tell
        self._lock = threading.Lock()
        self._listeners: list[_Listener] | None = None

    def notify(self, event: Event) -> None:
        """Let every observer be called with `event`, soon."""
        if self._listeners is None:
            with self._lock:
                if self._listeners is None:
                    self._listeners = [_Listener(name, make, self._tell) for name, make in self._makers()]
        for listener in self._listeners:
            listener.put(event)

    def settle(self) -> None:
        """Wait until the observers are done with what waits, for PATIENCE at most: for those who are about to fork."""
        deadline = time.monotonic() + PATIENCE
        for listener in self._listeners or ():
            listener.await_idle(deadline)

    def close(self) -> None:
        """Wait until the observers are done, for PATIENCE at most; those that are not are told."""
        deadline = time.monotonic() + PATIENCE
        for listener in self._listeners or ():
            if not listener.await_idle(deadline):
                listener.give_up(f"it is not done {PATIENCE:.0f} s after everything else")
            listener.end()


class _Listener:
    """One observer, its thread, and the events that wait for it."""

    def __init__(self, name: str, make: Callable[[], Observer], tell: Callable[[str], None]) -> None:
        self._name, self._make, self._tell = name, make, tell
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._busy = self._gone = self._ended = False

    def put(self, event: Event) -> None:
        """Let `event` wait; the first one starts the thread."""
        with self._changed:
            if self._gone or (isinstance(event, BlobProgress) and len(self._waiting) > AT_EASE):
                return
            behind = len(self._waiting) >= MOST
            if not behind:
                self._waiting.append(event)
                if self._thread is None:
                    # A daemon: where it hangs, the process ends without it.
                    self._thread = threading.Thread(target=self._work, name=f"observer-{self._name}", daemon=True)
                    self._thread.start()
                self._changed.notify_all()
        if behind:
            self.give_up(f"it is {MOST} events behind")

    def await_idle(self, deadline: float) -> bool:
        """Whether nothing waits any more, at the latest at `deadline` (of time.monotonic)."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self._gone or not (self._busy or self._waiting), max(deadline - time.monotonic(), 0)
            )

    def end(self) -> None:
        """No more events will come: the thread ends with the last of them."""
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def give_up(self, why: str) -> None:
        """Pass the observer over from now on, and tell."""
        with self._changed:
            if self._gone:
                return
            self._gone = True
            self._waiting.clear()
            self._changed.notify_all()
        self._tell(f"observer {self._name} is passed over: {why}")

    def _work(self) -> None:
        observer: Observer | None = None
        while (event := self._next()) is not None:
            try:
                if observer is None:
                    observer = self._make()
                observer.notify(event)
            except (Exception, SystemExit) as error:
                # A stranger's code: whatever it raises must not break the pull.
                self.give_up(told(error))
                return

    def _next(self) -> Event | None:
        """The next event, None at the end."""
        with self._changed:
            self._busy = False
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._waiting or self._gone or self._ended)
            if self._gone or not self._waiting:
                return None
            self._busy = True
            return self._waiting.popleft()
