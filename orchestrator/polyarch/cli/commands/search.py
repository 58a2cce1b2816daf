"""`polyarch search`."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation
from polyarch.cli.output import columns, fields, terminal_width
from polyarch.errors import printable

if TYPE_CHECKING:
    from polyarch.contract.registry import SearchResult

WIDTH = 45
"""Columns of a description where there is no terminal (docker/cli, cli/command/registry/formatter_search.go)."""

_NARROWEST = 15
_LONGEST = 4096
_HEADER = ("NAME", "DESCRIPTION", "STARS", "OFFICIAL")
_GAPS = 3 * 3


@click.command(
    "search",
    cls=Command,
    help="Find repositories whose name or description has TERM in it: on Docker Hub, or at REGISTRY, if that can "
    "search or lists what it has. Official ones come first, then those with the most stars.",
    examples=("polyarch search wordpress", "polyarch search --filter is-official=true quay.io/prometheus"),
    exits=(0, 2, 5, 6),
)
@click.argument("term", metavar="[REGISTRY/]TERM")
@click.option(
    "-f", "--filter", "filters", metavar="NAME=VALUE", multiple=True, help="is-official=true|false, stars=N (at least)"
)
@click.option("--limit", metavar="N", type=click.IntRange(1, 100), default=25, help="results at most, else 25")
@click.option("--no-trunc", is_flag=True, help="do not cut descriptions")
@pass_invocation
def command(invocation: Invocation, term: str, filters: Sequence[str], limit: int, no_trunc: bool) -> None:
    """Print the table, even if nothing was found: then its header alone, as docker does."""
    with invocation.session() as session:
        results = session.search(term, limit=limit, filters=filters)
    width = terminal_width()
    invocation.show(
        json=map(fields, results),
        quiet=(result.name for result in results),
        lines=table(results, None if no_trunc else width or 0),
    )


def table(results: Sequence[SearchResult], width: int | None) -> list[str]:
    """The lines of the table. `width` is the terminal's; 0: there is none; None: descriptions are not cut."""
    rows = [_HEADER, *_rows(results)]
    if width is not None:
        others = sum(max(len(row[column]) for row in rows) for column in (0, 2, 3)) + _GAPS
        room = max(width - others, _NARROWEST) if width else WIDTH
        rows = [(name, cut(text, room), stars, official) for name, text, stars, official in rows]
    return columns(rows)


def _rows(results: Sequence[SearchResult]) -> Iterator[tuple[str, str, str, str]]:
    for result in results:
        stars = "" if result.stars is None else str(result.stars)
        description = printable(" ".join(result.description[:_LONGEST].split()), _LONGEST)
        yield printable(result.name), description, stars, "[OK]" if result.official else ""


def cut(text: str, width: int) -> str:
    """`text` in at most `width` columns of a terminal, `…` at the end of what was cut."""
    if sum(map(_columns, text)) <= width:
        return text
    used = 0
    for position, character in enumerate(text):
        used += _columns(character)
        if used > width - 1:
            return text[:position] + "…"
    return text


def _columns(character: str) -> int:
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1
