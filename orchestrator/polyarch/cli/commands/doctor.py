"""`polyarch doctor`."""

from __future__ import annotations

import os
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation
from polyarch.cli.output import columns, terminal_width, write
from polyarch.errors import HostError, printable

if TYPE_CHECKING:
    from polyarch.verbs.doctor.check import Check, Mend

_COLOURS = {"ok": "\x1b[32m", "warning": "\x1b[33m", "skipped": "\x1b[2m", "FAILED": "\x1b[1;31m"}
_WORDS = {"failed": "FAILED"}  # seen without colours, too
_PLAIN = "\x1b[0m"
_MEND = "    "
_MORE = "        "
_LONGEST = 10_000


@click.command(
    "doctor",
    cls=Command,
    help="Tell what works on this machine, what does not, and the command that mends it. Tries what containers need, "
    "asks the registries in use for three seconds at most, and leaves nothing behind.",
    examples=("polyarch doctor", "polyarch doctor --format json"),
    exits=(0, 8),
)
@pass_invocation
def command(invocation: Invocation) -> None:
    """Print every check; HostError if an essential one failed."""
    with invocation.session() as session:
        checks, environ = session.doctor(), session.settings.environ
    width = terminal_width()
    if invocation.plain:
        coloured = width is not None and not environ.get("NO_COLOR") and environ.get("TERM") != "dumb"
        for text in _lines(checks, width, coloured=coloured):
            write(f"{text}\n")
    else:
        invocation.show(
            json=(check.to_json() for check in checks),
            quiet=(check.name for check in checks if check.verdict == "failed"),
            lines=(),
        )
    failed = [check for check in checks if check.essential and check.verdict == "failed"]
    if failed:
        names = [check.name for check in failed]
        mend = failed[0].mend
        hint = f"{'as root: ' if mend.as_root and os.geteuid() else ''}{mend.command}" if mend else None
        raise HostError(f"polyarch cannot do its work here: {', '.join(names)}", hint, checks=names)


def _lines(checks: Sequence[Check], width: int | None, *, coloured: bool) -> Iterator[str]:
    """The table, each command below what it mends, and the summary."""
    names = max(len(check.name) for check in checks)
    yield from _row("CHECK", "VERDICT", "FACT", names, width)
    for check in checks:
        verdict = _WORDS.get(check.verdict, check.verdict)
        first, *others = _row(check.name, verdict, check.fact, names, width)
        if coloured:
            start, _, rest = first.partition(f"   {verdict}")
            first = f"{start}   {_COLOURS[verdict]}{verdict}{_PLAIN}{rest}"
        yield first
        yield from others
        if check.mend is not None and check.verdict != "ok":
            yield from command_lines(check.mend, width, root=os.geteuid() == 0)
    yield ""
    yield from textwrap.wrap(_summary(checks), width or _LONGEST, break_long_words=False, break_on_hyphens=False)


def _row(name: str, verdict: str, fact: str, names: int, width: int | None) -> list[str]:
    return columns([(f"{name:{names}}", f"{verdict:{len('VERDICT')}}", fact)], width)


def command_lines(mend: Mend, width: int | None, *, root: bool) -> Iterator[str]:
    """A command on as many lines as the terminal needs, in a form that a shell takes when they are copied."""
    label = "as root: " if mend.as_root and not root else "mend: "
    rest = printable(mend.command, _LONGEST)
    indent = _MEND + label
    while width is not None and len(indent) + len(rest) > width:
        cut = _last_break(rest, width - len(indent) - len(" \\"))
        if cut is None:
            break
        yield f"{indent}{rest[:cut]} \\"
        indent, rest = _MORE, rest[cut + 1 :]
    yield indent + rest


def _last_break(text: str, limit: int) -> int | None:
    """Where the last space up to `limit` stands that no quotes are around."""
    spaces = [match.start() for match in re.finditer(" ", text[: limit + 1])]
    return next((at for at in reversed(spaces) if text[:at].count("'") % 2 == 0 and at), None)


def _summary(checks: Sequence[Check]) -> str:
    """What there is to do, the essential first."""
    bad = [check for check in checks if check.verdict in ("warning", "failed")]
    bad.sort(key=lambda check: (not check.essential, check.verdict != "failed"))
    mendable, others = (
        list(dict.fromkeys(_named(check) for check in bad if bool(check.mend) is wanted)) for wanted in (True, False)
    )
    parts = []
    if mendable:
        parts.append(f"{len(mendable)} thing{'s' if len(mendable) > 1 else ''} to mend: {', '.join(mendable)}")
    if others:
        parts.append(f"No command for: {', '.join(others)}")
    return ". ".join(parts or ["Nothing to mend"]) + "."


def _named(check: Check) -> str:
    return f"{check.name} (essential)" if check.essential else check.name
