"""`polyarch cp`."""

from __future__ import annotations

import sys

import click

from polyarch.cli.completers import containers
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation


@click.command(
    "cp",
    cls=Command,
    help="Copy files into a container, or out of it, whether it runs or not.\n"
    "One of SOURCE and DESTINATION is CONTAINER:PATH, the other a path here (with a colon in it: ./a:b), or - for a "
    "tar archive on stdin or stdout. A directory goes into one that is there, else it becomes the destination; of "
    "DIR/. what is in it is copied. Inside, files become root's, and here yours.",
    examples=("polyarch cp ./site/. web:/srv", "polyarch cp web:/etc/nginx - | tar t", "polyarch cp -a web:/data ."),
    exits=(0, 2, 3, 7, 8, 9, 130),
)
@click.argument("source", metavar="SOURCE", shell_complete=containers)
@click.argument("destination", metavar="DESTINATION", shell_complete=containers)
@click.option("-a", "--archive", is_flag=True, help="keep users, groups and attributes; here as root only")
@click.option("-L", "--follow-link", "follow", is_flag=True, help="copy what a symlink SOURCE leads to")
@pass_invocation
def command(invocation: Invocation, source: str, destination: str, archive: bool, follow: bool) -> None:
    """Copy; nothing is printed."""
    if destination == "-" and sys.stdout.isatty():
        raise click.UsageError("a tar archive is not written to a terminal: send it on with | or >")
    with invocation.session(lines_to_stderr=True) as session:
        session.containers.copy(source, destination, archive=archive, follow=follow)
