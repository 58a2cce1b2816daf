"""The table of a search, as docker prints it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.cli.commands.search import cut, table
from polyarch.contract.registry import SearchResult

LONG = "Full-chain, Internet enabled, busybox made from scratch. Comes in git and cURL flavors."
FOUND = (
    SearchResult("busybox", "Busybox base image.", 316, True),
    SearchResult("radial/busyboxplus", LONG, 8, False),
    SearchResult("quay.io/a/b"),
)


def test_without_a_terminal_descriptions_are_cut_as_docker_does() -> None:
    """docker/cli, cli/command/formatter/displayutils.go, Ellipsis."""
    lines = table(FOUND, 0)
    assert [line.split() for line in lines[:2]] == [
        ["NAME", "DESCRIPTION", "STARS", "OFFICIAL"],
        ["busybox", "Busybox", "base", "image.", "316", "[OK]"],
    ]
    assert lines[2] == "radial/busyboxplus   Full-chain, Internet enabled, busybox made f…   8"
    assert lines[3] == "quay.io/a/b"


@pytest.mark.parametrize("width", [60, 80, 100, 120, 200])
def test_on_a_terminal_descriptions_fill_its_width(width: int) -> None:
    lines = table(FOUND, width)
    assert len(lines) == 4
    assert max(map(len, lines)) <= width
    # What is free of the line holds the description, up to the end of the others' columns.
    assert len(lines[0]) in (width, width - 1) or LONG in lines[2]


def test_a_terminal_that_is_too_narrow_gets_some_of_it() -> None:
    assert "Full-chain" in table(FOUND, 20)[2]


def test_uncut() -> None:
    assert LONG in table(FOUND, None)[2]


def test_nothing_found_is_a_header() -> None:
    assert [line.split() for line in table((), 0)] == [["NAME", "DESCRIPTION", "STARS", "OFFICIAL"]]


def test_text_from_outside_is_made_harmless() -> None:
    evil = SearchResult("a\x1b[2J", "two\nlines\r\x1b]0;title\x07 \u202eright", 1, False)
    lines = table([evil], 0)
    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)
    assert "two lines" in lines[1]


@pytest.mark.parametrize(
    ("text", "width", "shown"),
    [
        ("abc", 3, "abc"),
        ("abcd", 3, "ab…"),
        ("ab cd", 4, "ab …"),
        ("", 3, ""),
        ("日本語", 6, "日本語"),
        ("日本語x", 6, "日本…"),
        ("日本語x", 5, "日本…"),
        ("e\u0301e\u0301", 2, "e\u0301e\u0301"),
        ("abc", 1, "…"),
    ],
)
def test_cut(text: str, width: int, shown: str) -> None:
    assert cut(text, width) == shown


@given(st.text(alphabet=st.characters(codec="ascii", categories=("L", "N")), max_size=50), st.integers(1, 40))
def test_what_is_cut_fits(text: str, width: int) -> None:
    shown = cut(text, width)
    assert len(shown) <= width
    assert shown == text or (shown.endswith("…") and text.startswith(shown[:-1]))
