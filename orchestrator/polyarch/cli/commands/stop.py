"""`polyarch stop`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from polyarch.cli.completers import containers
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, Count, pass_invocation


@click.command(
    "stop",
    cls=Command,
    help="Ask containers to end: by the image's stop signal (else SIGTERM), after a while by SIGKILL.",
    examples=("polyarch stop web", "polyarch stop -t 2 web db"),
    exits=(0, 2, 3, 8, 10),
)
@click.argument("names", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=containers)
@click.option("-t", "--time", "seconds", metavar="SECONDS", type=Count(), default=10, help="else: 10")
@pass_invocation
def command(invocation: Invocation, names: Sequence[str], seconds: int) -> int:
    """Stop every one, going on after failures."""
    with invocation.session() as session:

        def stop(name: str) -> None:
            record = session.containers.stop(name, seconds=seconds)
            invocation.show(json=[{"id": record.id, "name": record.name}], quiet=[record.id[:12]], lines=[name])

        return invocation.each(names, stop)
