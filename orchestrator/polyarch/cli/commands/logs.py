"""`polyarch logs`."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import containers
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, Count, pass_invocation
from polyarch.cli.output import json_line, write_bytes

if TYPE_CHECKING:
    from polyarch.container.logs import LogLine


@click.command(
    "logs",
    cls=Command,
    help="Show what a container that was started with -d has written: its output on stdout, its errors on stderr.",
    examples=("polyarch logs web", "polyarch logs -f -n 20 -t web"),
    exits=(0, 2, 3, 9, 130),
)
@click.argument("name", metavar="CONTAINER", shell_complete=containers)
@click.option("-f", "--follow", is_flag=True, help="go on until the container ends")
@click.option("-n", "--tail", metavar="LINES", type=Count(), help="only so many from the end; else all")
@click.option("-t", "--timestamps", is_flag=True, help="the time in front of every line, in UTC")
@pass_invocation
def command(invocation: Invocation, name: str, follow: bool, tail: int | None, timestamps: bool) -> None:
    """Pass the lines on as they were written."""
    begun = {"stdout": False, "stderr": False}  # whether a line of the stream is on its way
    with invocation.session() as session:
        for line in session.containers.logs(name, follow=follow, tail=tail):
            if invocation.json:
                json_line(_document(line))
                continue
            stamp = f"{line.time} ".encode() if timestamps and not begun[line.stream] else b""
            begun[line.stream] = not line.whole
            write_bytes(
                stamp + line.text + (b"\n" if line.whole else b""),
                sys.stdout if line.stream == "stdout" else sys.stderr,
            )


def _document(line: LogLine) -> dict[str, object]:
    """`partial` is true where the line goes on in the stream's next object."""
    return {
        "time": line.time,
        "stream": line.stream,
        "line": line.text.decode("utf-8", "replace"),
        "partial": not line.whole,
    }
