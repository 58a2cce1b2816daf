"""Whether an answer gets on: what drips for ever, and what talks without saying anything, are found out."""

from __future__ import annotations

from polyarch.limits import LEAST_PROGRESS, MAX_HEAD, MAX_HEAD_WAITS, MAX_IDLE_TALK, MAX_WIRE_RATIO


class Watch:
    """Of one connection, for one request after the other. Nothing here waits, or looks at a clock."""

    __slots__ = ("_few", "_heads", "_most", "_talk", "_waited")

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """A request goes out: what comes now is a head."""
        self._most, self._talk = MAX_HEAD, 0
        self._few, self._waited = 0, 0.0
        self._heads: float | None = 0.0

    def body(self, size: int = 0) -> None:
        """The head is here, or `size` further bytes of the body."""
        if self._heads is not None:
            self._heads = None
            self._most, self._talk = MAX_IDLE_TALK, 0
        self._talk = max(0, self._talk - size * MAX_WIRE_RATIO)
        self._came(size)

    @property
    def talks_on(self) -> bool:
        """True if so much came since the request, or beside the parts of the body, that nothing can become of it."""
        return self._talk > self._most

    def heard(self, size: int, seconds: float) -> None:
        """So many bytes came, whatever they are, after so long a wait."""
        self._talk += size
        self._waited += seconds
        if self._heads is not None:
            self._heads += seconds
            self._came(size)

    def _came(self, size: int) -> None:
        self._few += size
        if self._few >= LEAST_PROGRESS:
            self._few, self._waited = 0, 0.0

    def stands(self, longest: float | None) -> bool:
        """True if it was waited for more than `longest` seconds (None: that is for ever), and fewer than LEAST_PROGRESS
        bytes of a body, or of a head, came of it; also if a head takes MAX_HEAD_WAITS times as long.
        """
        if longest is None:
            return False
        return self._waited > longest or (self._heads or 0.0) > longest * MAX_HEAD_WAITS
