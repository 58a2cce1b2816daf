"""`polyarch doctor`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation
from polyarch.cli.output import columns, terminal_width
from polyarch.errors import HostError

if TYPE_CHECKING:
    from polyarch.verbs.doctor import Check


@click.command(
    "doctor",
    cls=Command,
    help="Tell what works on this machine, what does not, and the command that mends it. Changes nothing.",
    examples=("polyarch doctor", "polyarch doctor --format json"),
    exits=(0, 8),
)
@pass_invocation
def command(invocation: Invocation) -> None:
    """Print every check; HostError if an essential one failed."""
    with invocation.session() as session:
        checks = session.doctor()
    invocation.show(
        json=(check.to_json() for check in checks),
        quiet=(check.name for check in checks if check.verdict == "failed"),
        lines=_lines(checks, terminal_width()),
    )
    failed = [check for check in checks if check.essential and check.verdict == "failed"]
    if failed:
        names = [check.name for check in failed]
        raise HostError(f"polyarch cannot do its work here: {', '.join(names)}", failed[0].mend, checks=names)


def _lines(checks: Sequence[Check], width: int | None) -> Iterator[str]:
    rows = [("CHECK", "VERDICT", "FACT")]
    for check in checks:
        rows.append((check.name, check.verdict, check.fact))
        if check.mend and check.verdict != "ok":
            rows.append(("", "", f"mend: {check.mend}"))
    yield from columns(rows, width)
