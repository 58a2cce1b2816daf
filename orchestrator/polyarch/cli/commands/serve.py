"""`polyarch serve`."""

from __future__ import annotations

import sys

import click

from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation
from polyarch.cli.output import line


@click.command(
    "serve",
    cls=Command,
    help="Offer the images at hand as a read-only registry, until Ctrl-C.",
    examples=("polyarch serve", "polyarch serve --listen 0.0.0.0:5000"),
    exits=(0, 2, 8, 9),
)
@click.option("--listen", metavar="[HOST:]PORT", help="where to; a free port on loopback if not given")
@pass_invocation
def command(invocation: Invocation, listen: str | None) -> None:
    """Say the address once it can be connected to, and serve."""

    def ready(address: str) -> None:
        invocation.show(
            json=[{"address": address}],
            quiet=[address],
            lines=[f"The images at hand are served at {address}; for one: polyarch pull {address}/NAME"],
        )
        if invocation.plain:
            line("Ctrl-C ends it.", sys.stderr)

    with invocation.session() as session:
        session.serve(listen, ready)
