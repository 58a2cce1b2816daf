"""`polyarch diff`."""

from __future__ import annotations

import click

from polyarch.cli.completers import containers
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation


@click.command(
    "diff",
    cls=Command,
    help="Show what a container changed against its image: A added, C changed, D deleted.",
    examples=("polyarch diff web", "polyarch diff --format json 4f1c0d3a92be"),
    exits=(0, 2, 3, 8, 9),
)
@click.argument("name", metavar="CONTAINER", shell_complete=containers)
@pass_invocation
def command(invocation: Invocation, name: str) -> None:
    """Print a change a line, as docker does."""
    with invocation.session() as session:
        changes = session.containers.diff(name)
        invocation.show(
            json=({"kind": change.kind, "path": change.shown} for change in changes),
            quiet=(change.shown for change in changes),
            lines=(f"{change.kind} {change.shown}" for change in changes),
        )
