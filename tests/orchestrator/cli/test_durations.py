"""Times on the command line."""

from __future__ import annotations

import click
import pytest

from polyarch.cli.durations import Duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90),
        ("1.5", 1.5),
        ("90s", 90),
        ("30m", 1800),
        ("24h", 86400),
        ("1h30m", 5400),
        ("30d", 2592000),
        ("1d12h", 129600),
        (" 2h ", 7200),
    ],
)
def test_times(text: str, seconds: float) -> None:
    assert Duration().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", " ", "d", "1w", "-1", "1h1d", "1.5d", "m30", "\u0661s", "9" * 20])
def test_no_times(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is no time"):
        Duration().convert(text, None, None)
