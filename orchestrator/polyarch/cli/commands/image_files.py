"""`polyarch image files` and `diff`: what the layers of an image hold, and what differs in another image."""

from __future__ import annotations

from collections.abc import Iterator

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation, platform_option
from polyarch.cli.output import terminal_width, write
from polyarch.errors import UsageError


@click.command(
    "files",
    cls=Command,
    help="Show what each layer of an image brings: A added, C changed, D removed, and what a later layer hides of it. "
    "A directory that only stands in a layer again, as it was, is left out. The first time the layers are read.",
    examples=("polyarch image files alpine", "polyarch image files --layer 2 --tree alpine"),
    exits=(0, 2, 3, 7, 9, 130),
)
@click.argument("reference", metavar="REF", shell_complete=stored_images)
@click.option("--layer", metavar="N", type=click.IntRange(min=1), help="only this one; the lowest is 1")
@click.option("--tree", is_flag=True, help="as a tree, with the size of each directory")
@platform_option()
@pass_invocation
def files(invocation: Invocation, reference: str, layer: int | None, tree: bool, platform: str | None) -> None:
    """Print a line a file, much at a time."""
    if tree and not invocation.plain:
        raise UsageError("--tree is for people: it goes with neither --format json nor --quiet", "leave out --tree")
    with invocation.session(lines_to_stderr=True) as session:
        seen = session.seen.files(reference, platform=platform)
    count = len(seen.image.manifest.layers)
    if layer is not None and layer > count:
        raise UsageError(
            f"{reference} has {count} layers, no layer {layer}", f"see: polyarch image inspect {reference}"
        )
    wanted = [layer] if layer else list(range(1, count + 1))
    from polyarch.cli.file_lines import json_lines, path_lines, table_lines, tree_lines

    if invocation.json:
        lines = json_lines(seen.merged, wanted)
    elif invocation.quiet:
        lines = path_lines(seen.merged, wanted)
    elif tree:
        lines = tree_lines(seen.merged, seen.image, wanted)
    else:
        lines = table_lines(seen.merged, wanted)
    _write_all(lines)


def _write_all(lines: Iterator[str]) -> None:
    """Write lines that are printable, thousands at a time: an image may have a hundred thousand."""
    from itertools import islice

    while some := list(islice(lines, 4096)):
        write("\n".join(some) + "\n")


@click.command(
    "diff",
    cls=Command,
    help="Show what is different in image B: files (A added, C changed, D deleted), settings, layers. Files are "
    "compared by what they hold, not by their times. With -q it prints the paths.",
    examples=("polyarch image diff app:1.0 app:1.1", "polyarch image diff -q --platform linux/arm64 app:1.0 app:1.1"),
    exits=(0, 2, 3, 7, 9, 130),
)
@click.argument("one", metavar="A", shell_complete=stored_images)
@click.argument("other", metavar="B", shell_complete=stored_images)
@platform_option()
@pass_invocation
def diff(invocation: Invocation, one: str, other: str, platform: str | None) -> None:
    """Print a line a difference."""
    from polyarch.cli import diff_lines

    with invocation.session(lines_to_stderr=True) as session:
        found = session.seen.diff(one, other, platform=platform)
    if invocation.json:
        _write_all(diff_lines.json_lines(found))
    elif invocation.quiet:
        _write_all(diff_lines.path_lines(found))
    else:
        _write_all(diff_lines.table_lines(found, terminal_width()))
