"""Trying again after passing faults: which, how often, and how long to wait in between.

The waiting ends when the client is closed, so that an interrupted program never sits out a pause.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Protocol, TypeVar

from polyarch.events import Emit, Warned
from polyarch.limits import MAX_ASKED_PAUSE
from polyarch.registry.faults import ConnectionFault
from polyarch.registry.rate_limits import parse_limit

PASSING_STATUSES = frozenset({408, 429, 500, 502, 503, 504})
"""Statuses that another try may change; every other one is final."""

REPEATABLE_METHODS = frozenset({"GET", "HEAD", "OPTIONS", "PUT", "DELETE"})
"""RFC 9110, section 9.2.2: doing it twice is doing it once."""

FIRST_PAUSE = 0.25
LONGEST_PAUSE = 8.0
"""Seconds."""


class Answer(Protocol):
    """What a try is judged by."""

    @property
    def status(self) -> int: ...

    @property
    def headers(self) -> Mapping[str, str]: ...


A = TypeVar("A", bound=Answer)


class Retries:
    """Up to `retries` further tries of an operation."""

    def __init__(self, retries: int, emit: Emit, closing: threading.Event) -> None:
        """`closing` is set when nobody waits for an answer any more."""
        self._retries = retries
        self._emit = emit
        self._closing = closing

    def run(
        self,
        host: str,
        method: str,
        operation: Callable[[], A],
        discard: Callable[[A], None],
        retries: int | None = None,
    ) -> A:
        """The first answer that is no passing fault, or the last one. `discard` is given the others.

        `retries` takes the place of the usual number.

        Raises ConnectionFault.
        """
        most = self._retries if retries is None else min(retries, self._retries)
        for number in range(1, most + 1):
            asked: float | None = None
            try:
                answer = operation()
            except ConnectionFault as fault:
                if not fault.passing or not (method in REPEATABLE_METHODS or fault.unsent):
                    raise
                reason = str(fault)
            else:
                asked = retry_after(answer.headers.get("retry-after", ""), datetime.now(UTC))
                refused = answer.status in (429, 503)  # nothing was done
                if answer.status not in PASSING_STATUSES or not (method in REPEATABLE_METHODS or refused):
                    return answer
                if (asked if asked is not None else _spent(answer)) > MAX_ASKED_PAUSE:
                    return answer
                reason = f"{host} answered {answer.status}"
                discard(answer)
            seconds = pause(number) if asked is None else asked
            self._emit(Warned(f"{reason}; trying again in {seconds:.1f} s ({number} of {most})"))
            if self._closing.wait(seconds):
                raise ConnectionFault(host, "the connection was closed here", "closed")
        return operation()


def _spent(answer: Answer) -> float:
    """Seconds until a limit that is used up is whole again; 0 where none is."""
    limit = parse_limit(answer.headers) if answer.status == 429 else None
    return limit.reset if limit is not None and not limit.remaining else 0


def pause(number: int) -> float:
    """Seconds before the `number`th further try: growing, and spread so that many clients do not come at once."""
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(number - 1, 16))
    return random.uniform(longest / 2, longest)


def retry_after(value: str, now: datetime) -> float | None:
    """Seconds that a Retry-After field asks for (RFC 9110, section 10.2.3: a number, or a date); None if it is none."""
    value = value.strip()
    if value.isascii() and value.isdigit():
        return float(value[:9])
    try:
        date = parsedate_to_datetime(value)
    except (TypeError, ValueError, IndexError, OverflowError):
        return None
    if date.tzinfo is None:
        date = date.replace(tzinfo=UTC)
    return max(0.0, (date - now).total_seconds())
