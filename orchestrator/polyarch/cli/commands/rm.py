"""`polyarch rm`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from polyarch.cli.completers import containers
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation


@click.command(
    "rm",
    cls=Command,
    help="Take containers away, with all that they have written. Their images stay.",
    examples=("polyarch rm web", "polyarch rm -f web db"),
    exits=(0, 2, 3, 8, 9, 10),
)
@click.argument("names", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=containers)
@click.option("-f", "--force", is_flag=True, help="also those that run, by SIGKILL")
@pass_invocation
def command(invocation: Invocation, names: Sequence[str], force: bool) -> int:
    """Remove every one, going on after failures."""
    with invocation.session() as session:

        def remove(name: str) -> None:
            record = session.containers.remove(name, force=force)
            invocation.show(json=[{"id": record.id, "name": record.name}], quiet=[record.id[:12]], lines=[name])

        return invocation.each(names, remove)
