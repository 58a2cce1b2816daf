"""Lines, tables, sizes and ages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from polyarch.cli.ages import ago
from polyarch.cli.output import columns, human_size, short_id

NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)


def test_columns_are_as_wide_as_their_content() -> None:
    rows = [("NAME", "SIZE"), ("busybox", "1MB"), ("a", "")]
    assert columns(rows) == ["NAME      SIZE", "busybox   1MB", "a"]


def test_without_a_terminal_every_row_is_one_line() -> None:
    rows = [("A", "WHY"), ("x", "word " * 100)]
    assert len(columns(rows)) == 2


REASON = "it needs linux/arm/v7, and pi-zero runs linux/arm/v6 at most, which is a pity"


@pytest.mark.parametrize("width", [56, 80])
def test_on_a_terminal_the_last_column_is_wrapped(width: int) -> None:
    lines = columns([("PLATFORM", "WHY"), ("linux/arm/v7", REASON)], width)
    assert max(map(len, lines)) <= width
    assert " ".join(line[15:] for line in lines[1:]) == REASON
    assert all(line.startswith(" " * 15) for line in lines[2:])


@pytest.mark.parametrize("width", [44, 54])
def test_where_that_is_narrow_it_stands_below(width: int) -> None:
    lines = columns([("PLATFORM", "WHY"), ("linux/arm/v7", REASON), ("linux/386", "short")], width)
    assert max(map(len, lines)) <= width
    assert lines[1] == "linux/arm/v7"
    assert lines[-1] == "linux/386      short"
    assert all(line.startswith("    ") for line in lines[2:-1])
    assert " ".join(line.strip() for line in lines[2:-1]) == REASON


def test_a_long_word_starts_on_a_line_of_its_own() -> None:
    path = "/usr/bin/" + "x" * 60
    lines = columns([("a", f"by {path}")], 50)
    assert [line.strip() for line in lines] == ["a   by", path[:46], path[46:]]


def test_a_table_wider_than_the_terminal_goes_on_below_from_the_same_column() -> None:
    rows = [("ID", "IMAGE", "CREATED", "NAMES"), ("4f1c0d3a92be", "registry/busybox", "3 hours ago", "web")]
    assert columns(rows, 40) == [
        "ID             IMAGE",
        "    CREATED       NAMES",
        "4f1c0d3a92be   registry/busybox",
        "    3 hours ago   web",
    ]


def test_no_rows_no_lines() -> None:
    assert columns([]) == []


def test_what_comes_from_outside_is_made_printable() -> None:
    assert columns([("evil\x1b[31m", "\u202egnp")]) == ["evil\\x1b[31m   \\u202egnp"]


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0B"),
        (1, "1B"),
        (999, "999B"),
        (1000, "1kB"),
        (999_499, "999kB"),
        (999_500, "1MB"),
        (999_999, "1MB"),
        (1_034_311, "1.03MB"),
        (4_270_000, "4.27MB"),
        (77_900_000, "77.9MB"),
        (483_000_000, "483MB"),
        (1_170_000_000, "1.17GB"),
        (2**63, "9.22e+03PB"),
    ],
)
def test_sizes_are_shown_as_docker_does(size: int, shown: str) -> None:
    assert human_size(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "Less than a second ago"),
        (0, "Less than a second ago"),
        (1, "1 second ago"),
        (59, "59 seconds ago"),
        (60, "About a minute ago"),
        (120, "2 minutes ago"),
        (3599, "59 minutes ago"),
        (3600, "About an hour ago"),
        (5400, "2 hours ago"),
        (47 * 3600, "47 hours ago"),
        (2 * 86_400, "2 days ago"),
        (13 * 86_400, "13 days ago"),
        (21 * 86_400, "3 weeks ago"),
        (90 * 86_400, "3 months ago"),
        (800 * 86_400, "2 years ago"),
    ],
)
def test_ages(seconds: int, shown: str) -> None:
    assert ago((NOW - timedelta(seconds=seconds)).isoformat(), NOW) == shown


@pytest.mark.parametrize(
    ("moment", "shown"),
    [
        ("2026-06-01T12:00:00Z", "2 weeks ago"),
        ("2026-06-01T12:00:00.123456789Z", "2 weeks ago"),
        ("2026-06-01T14:00:00+02:00", "2 weeks ago"),
        ("2026-06-01T12:00:00", "2 weeks ago"),
        ("", "N/A"),
        ("yesterday", "N/A"),
        ("0001-01-01T00:00:00Z", "N/A"),
        ("1970-01-01T00:00:00Z", "56 years ago"),
    ],
)
def test_moments_as_configs_write_them(moment: str, shown: str) -> None:
    assert ago(moment, NOW) == shown


def test_short_ids() -> None:
    assert short_id("sha256:" + "0123456789abcdef" * 4) == "0123456789ab"
