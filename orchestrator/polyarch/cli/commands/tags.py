"""`polyarch tags`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation
from polyarch.cli.output import columns, line, terminal_width

if TYPE_CHECKING:
    from polyarch.verbs.tags import VersionTags

_HAS, _GUESSED = "x", "?"


@click.command(
    "tags",
    cls=Command,
    help="List the tags of a repository: a line a version, a column for each platform that tags are named for; TAG"
    " marks versions that are a tag themselves, ? a platform that was guessed. With -q it prints every tag.",
    examples=("polyarch tags alpine", "polyarch tags -q alpine", "polyarch tags --format json ghcr.io/owner/app"),
    exits=(0, 2, 3, 5, 6, 7, 8),
)
@click.argument("reference", metavar="REF", shell_complete=stored_images)
@pass_invocation
def command(invocation: Invocation, reference: str) -> None:
    """Print a line a version; each tag as it comes, if only those were asked for."""
    with invocation.session() as session:
        if invocation.quiet and not invocation.json:
            for tag in session.tags(reference):
                line(tag)
            return
        name = session.reference(reference).name
        versions = session.grouped_tags(reference)
    invocation.show(json=_json(name, versions), quiet=(), lines=_lines(versions, terminal_width()))


def _json(name: str, versions: Sequence[VersionTags]) -> Iterator[dict[str, object]]:
    for each in versions:
        yield {
            "repository": name,
            "version": each.version,
            "tag": each.version if each.plain else None,
            "tags": {found.platform: found.tag for found in each.platforms},
            "certainty": {found.platform: found.certainty for found in each.platforms},
            "others": list(each.others),
        }


def _lines(versions: Sequence[VersionTags], width: int | None) -> list[str]:
    """A column a platform; where they do not fit into `width`, one for all platforms."""
    platforms = sorted({found.platform for each in versions for found in each.platforms})
    if not platforms:
        return columns([("VERSION",), *((each.version,) for each in versions)]) if versions else []
    # What is for Linux says so no more than anything else does.
    short = {platform: platform.removeprefix("linux/") for platform in platforms}
    rows: list[tuple[str, ...]] = [("VERSION", "TAG", *short.values())]
    for each in versions:
        marks = {found.platform: _mark(found.certainty) for found in each.platforms}
        rows.append((each.version, _HAS if each.plain else "", *(marks.get(platform, "") for platform in platforms)))
    table = columns(rows)
    if width is None or max(map(len, table)) <= width:
        return table
    rows = [("VERSION", "TAG", "PLATFORMS")]
    for each in versions:
        named = [short[found.platform] + (_GUESSED * (found.certainty == "guess")) for found in each.platforms]
        rows.append((each.version, _HAS if each.plain else "", ", ".join(named)))
    return columns(rows, width)


def _mark(certainty: str) -> str:
    return _GUESSED if certainty == "guess" else _HAS
