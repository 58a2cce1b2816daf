"""`polyarch tags`."""

from __future__ import annotations

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation
from polyarch.cli.output import json_line, line


@click.command(
    "tags",
    cls=Command,
    help="List the tags of a repository.",
    examples=("polyarch tags alpine", "polyarch tags --format json ghcr.io/owner/app"),
    exits=(0, 2, 3, 5, 6),
)
@click.argument("reference", metavar="REF", shell_complete=stored_images)
@pass_invocation
def command(invocation: Invocation, reference: str) -> None:
    """Print each tag as it comes."""
    with invocation.session() as session:
        name = session.reference(reference).name
        for tag in session.tags(reference):
            if invocation.json:
                json_line({"repository": name, "tag": tag})
            else:
                line(tag)
