"""`polyarch ps`."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

import click

from polyarch.cli.ages import ago
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation
from polyarch.cli.output import columns, fields, terminal_width

if TYPE_CHECKING:
    from polyarch.container.record import Record

_LONGEST_COMMAND = 20  # as docker


@click.command(
    "ps",
    cls=Command,
    help="List containers: those that run, or with -a all. With -q it prints their IDs.",
    examples=("polyarch ps", "polyarch ps -aq"),
    exits=(0, 2, 9),
)
@click.option("-a", "--all", "every", is_flag=True, help="also those that have ended")
@click.option("--no-trunc", is_flag=True, help="whole IDs and commands")
@pass_invocation
def command(invocation: Invocation, every: bool, no_trunc: bool) -> None:
    """Print a line a container, the newest first."""
    with invocation.session() as session:
        records = [record for record in session.containers.all() if every or _runs(record)]
    invocation.show(
        json=map(fields, records),
        quiet=(record.id if no_trunc else record.id[:12] for record in records),
        lines=columns(
            [
                ("CONTAINER ID", "IMAGE", "PLATFORM", "COMMAND", "CREATED", "STATUS", "NAMES"),
                *(_row(record, no_trunc) for record in records),
            ],
            terminal_width(),
        ),
    )


def _runs(record: Record) -> bool:
    return record.status == "running" or (record.status == "damaged" and record.pid > 0)


def _row(record: Record, no_trunc: bool) -> tuple[str, ...]:
    command = shlex.join(record.command)
    if not no_trunc and len(command) > _LONGEST_COMMAND:
        command = command[: _LONGEST_COMMAND - 1] + "…"
    return (
        record.id if no_trunc else record.id[:12],
        familiar(record.image) if record.manifest else record.image,
        record.platform,
        command,
        ago(record.created),
        status(record),
        record.name,
    )


def familiar(image: str) -> str:
    """The image as people write it."""
    from polyarch.errors import PolyarchError
    from polyarch.reference import parse_reference

    try:
        return parse_reference(image).familiar
    except PolyarchError:
        return image  # of a plugin's own scheme


def status(record: Record) -> str:
    """`Up 3 minutes`, `Exited (0) 2 hours ago`, `Created`, `Damaged`."""
    if record.status == "running":
        return f"Up {ago(record.started).removesuffix(' ago')}"
    if record.status == "exited":
        ended = f" {ago(record.finished)}" if record.finished else ""
        return f"Exited ({record.exit_code}){ended}"
    if record.status == "damaged":
        return "Damaged, runs" if record.pid else "Damaged"
    return "Created"
