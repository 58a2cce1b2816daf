"""Moments as docker shows them: how long ago."""

from __future__ import annotations

from datetime import UTC, datetime

_MINUTE, _HOUR = 60, 3600
# From how many hours on, hours of a unit, its name.
_UNITS = (
    (24 * 365 * 2, 24 * 365, "years"),
    (24 * 30 * 2, 24 * 30, "months"),
    (24 * 7 * 2, 24 * 7, "weeks"),
    (48, 24, "days"),
)


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
    return f"{_duration(seconds)} ago"


def _duration(seconds: int) -> str:
    """With docker's words, and its steps to the next unit (docker/go-units, HumanDuration)."""
    if seconds < _MINUTE:
        return {0: "Less than a second", 1: "1 second"}.get(max(seconds, 0), f"{seconds} seconds")
    if seconds < _HOUR:
        return "About a minute" if seconds < 2 * _MINUTE else f"{seconds // _MINUTE} minutes"
    hours = (seconds + _HOUR // 2) // _HOUR
    if hours == 1:
        return "About an hour"
    for least, unit, name in _UNITS:
        if hours >= least:
            return f"{hours // unit} {name}"
    return f"{hours} hours"
