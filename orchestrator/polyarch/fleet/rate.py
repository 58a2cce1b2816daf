"""How fast bytes may leave this machine for all devices of a rollout together: `--limit-rate`."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from fractions import Fraction

from polyarch.errors import UsageError, printable

BURST = 0.25
"""Seconds whose bytes may go at once after a pause, so that a thread that woke late makes up for it."""

_PIECES_A_SECOND = 10
_SMALLEST_PIECE, _LARGEST_PIECE = 1 << 10, 1 << 18

# curl(1), --limit-rate: bytes a second, or with k, M, G, T in either case, which are 1024 based.
_RATE = re.compile(r"(?P<number>[0-9]{1,15}(?:\.[0-9]{1,9})?)(?P<unit>[kmgt]?)(?:(?<=[kmgt])ib)?", re.ASCII | re.I)
_UNITS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4}


def parse_rate(text: str) -> int:
    """The bytes a second of `500k`, `10M`, `1.5MiB` or `2000`; units are powers of 1024, as curl's are.

    Raises UsageError, also for less than one byte a second.
    """
    match = _RATE.fullmatch(text)
    rate = int(Fraction(match["number"]) * 1024 ** _UNITS[match["unit"].lower()]) if match else 0
    if rate < 1:
        raise UsageError(
            f"'{printable(text, 100)}' is no rate", "write bytes a second, such as 500k, 10M or 1.5MiB (k is 1024)"
        )
    return rate


class RateLimit:
    """At most so many bytes a second, over all threads that take from it.

    Bytes are given out in the order in which they are asked for, so threads that take pieces of the same size get the
    same share. Over T seconds no more than `bytes_per_second` × (T + BURST) and the last piece of each thread go out.
    """

    def __init__(
        self,
        bytes_per_second: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        """`clock` tells seconds and never goes back. Raises ValueError unless the rate is above 0."""
        if not bytes_per_second > 0:
            raise ValueError("a rate is more than no byte a second")
        self._rate, self._clock, self._sleep = bytes_per_second, clock, sleep
        self._lock = threading.Lock()
        self._free_at = clock()
        """When all that was given out so far has gone, at this rate."""

    @property
    def piece(self) -> int:
        """How many bytes are best taken at once: few enough that all threads advance and nobody sleeps for long."""
        return max(_SMALLEST_PIECE, min(_LARGEST_PIECE, int(self._rate / _PIECES_A_SECOND)))

    def take(self, count: int) -> None:
        """Come back when `count` bytes may go. The lock is held for the reckoning alone, never for the sleep."""
        with self._lock:
            now = self._clock()
            begin = max(self._free_at, now - BURST)
            self._free_at = begin + count / self._rate
        if begin > now:
            self._sleep(begin - now)
