"""Moments as docker shows them: how long ago."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE, _HOUR, _DAY, _WEEK, _MONTH, _YEAR = 60, 3600, 86_400, 604_800, 2_592_000, 31_536_000


def ago(moment: str, now: datetime | None = None) -> str:
    """`3 weeks ago` for a moment of RFC 3339, "N/A" for what is none, as docker says of an image without a date."""
    try:
        then = datetime.fromisoformat(moment)
    except ValueError:
        return "N/A"
    if then.year == 1:  # Go's zero time
        return "N/A"
    if then.tzinfo is None:
        then = then.replace(tzinfo=UTC)
    seconds = int(((now or datetime.now(UTC)) - then).total_seconds())
    # The steps at which docker takes the next unit.
    for least, unit, name in (
        (2 * _YEAR, _YEAR, "years"),
        (2 * _MONTH, _MONTH, "months"),
        (2 * _WEEK, _WEEK, "weeks"),
        (2 * _DAY, _DAY, "days"),
        (2 * _HOUR, _HOUR, "hours"),
        (2 * _MINUTE, _MINUTE, "minutes"),
    ):
        if seconds >= least:
            return f"{seconds // unit} {name} ago"
    return "About a minute ago" if seconds >= _MINUTE else "Less than a minute ago"
