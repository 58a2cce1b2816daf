"""Whether an answer gets on: what drips for ever, and what talks without saying anything, are found out."""

from __future__ import annotations

import time

from polyarch.limits import LEAST_PROGRESS, MAX_HEAD, MAX_IDLE_TALK


class Watch:
    """Of one connection, for one request after the other. Nothing here waits; a read of large parts costs nothing."""

    __slots__ = ("_few", "_most", "_since", "_talk")

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A request goes out: what comes now is a head."""
        self._most, self._talk = MAX_HEAD, 0
        self._few, self._since = 0, 0.0

    def body(self) -> None:
        """The head is here, or a further part of the body."""
        self._most, self._talk = MAX_IDLE_TALK, 0

    @property
    def talks_on(self) -> bool:
        """True if so much came since the request, or the last part of the body, that nothing can become of it."""
        return self._talk > self._most

    def heard(self, size: int) -> None:
        """So many bytes came, whatever they are."""
        self._talk += size

    def drips(self, size: int, longest: float | None) -> bool:
        """Bytes came: True if fewer than LEAST_PROGRESS did within `longest` seconds (None: that is for ever)."""
        if size >= LEAST_PROGRESS or longest is None:
            self._few = 0
            return False
        now = time.monotonic()
        if not self._few:
            self._since = now
        self._few += size
        if self._few >= LEAST_PROGRESS:
            self._few = 0
            return False
        return now - self._since > longest
