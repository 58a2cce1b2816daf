"""`polyarch plugin`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from polyarch.cli.completers import plugins
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Group, pass_invocation
from polyarch.cli.output import columns, terminal_width
from polyarch.errors import HostError, PartialError

if TYPE_CHECKING:
    from polyarch.plugin_host.kinds import Registration
    from polyarch.verbs.plugins import Registers, Report

KINDS = ("registry", "storage", "tag-convention", "emulator", "observer")
"""What there are skeletons for."""

command = Group(
    "plugin",
    help="The plugins that were found, what they register, and whether they keep the contract.",
    examples=("polyarch plugin ls", "polyarch plugin show oci", "polyarch plugin new crate"),
)


@command.command(
    "ls",
    help="List what plugins register; those that are broken or switched off, too.",
    examples=("polyarch plugin ls", "polyarch plugin ls -q"),
    exits=(0, 2),
)
@pass_invocation
def ls(invocation: Invocation) -> None:
    """Print a line a registration. Broken plugins were told as warnings when they were found."""
    from polyarch.plugin_host.kinds import WORDS

    with invocation.session() as session:
        host = session.plugins
    documents = [_json(each) for each in host.registrations]
    documents += [
        {"plugin": each.entry_point, "distribution": each.distribution, "part": each.part, "problem": each.reason}
        for each in host.problems
    ]
    documents += [{"plugin": name, "disabled": True} for name in host.disabled]
    rows = [("KIND", "NAME", "FROM", "SUMMARY")]
    rows += [
        (WORDS[each.kind], each.plugin.name, each.distribution, each.plugin.summary) for each in host.registrations
    ]
    rows += [("-", name, "-", "switched off by the settings") for name in host.disabled]
    invocation.show(
        json=documents,
        quiet=dict.fromkeys(each.plugin.name for each in host.registrations),
        lines=columns(rows, terminal_width()),
    )


@command.command(
    "show",
    help="Tell all of a plugin: where it comes from, what it registers, what that can do, and what is wrong with it.\n"
    "NAME is an entry point, a distribution, or the name of what a plugin registers (see: polyarch plugin ls).",
    examples=("polyarch plugin show oci", "polyarch plugin show docker-hub --format json"),
    exits=(0, 2),
)
@click.argument("name", shell_complete=plugins)
@pass_invocation
def show(invocation: Invocation, name: str) -> None:
    """Print the plugins of that name."""
    with invocation.session() as session:
        reports = session.plugin_verbs.show(name)
    invocation.show(
        json=(report.to_json() for report in reports),
        quiet=(report.point.name for report in reports),
        lines=(text for report in reports for text in _shown(report)),
    )


@command.command(
    "check",
    help="Hold plugins against the contract: every one, or NAME alone, is imported in earnest, and makes what it can.\n"
    "Whether methods do what they promise, only its author's tests can tell: the conformance kit, see docs/plugins.md.",
    examples=("polyarch plugin check", "polyarch plugin check oci --format json"),
    exits=(0, 2, 8, 10),
)
@click.argument("name", required=False, default="", shell_complete=plugins)
@pass_invocation
def check(invocation: Invocation, name: str) -> None:
    """Print a line a plugin. HostError if none is right, PartialError if some are."""
    with invocation.session() as session:
        reports = session.plugin_verbs.check(name)
    failed = [report for report in reports if report.verdict == "failed"]
    rows = [("PLUGIN", "FROM", "VERDICT", "FINDINGS")]
    for report in reports:
        findings = "; ".join((*report.faults, *report.notes)) or "-"
        rows.append((report.point.name, report.point.distribution, _verdict(report), findings))
    invocation.show(
        json=(report.to_json() for report in reports),
        quiet=(report.point.name for report in failed),
        lines=columns(rows, terminal_width()),
    )
    if failed:
        names = [report.point.name for report in failed]
        text = f"{len(failed)} of {len(reports)} plugins cannot be used as they are: {', '.join(names)}"
        raise (HostError if len(failed) == len(reports) else PartialError)(
            text, "polyarch plugin show NAME", plugins=names
        )


@command.command(
    "new",
    help="Write a package for a new plugin: it works as it is and passes the conformance kit, so that each change from "
    "there on can be tried.\nDIRECTORY is polyarch-NAME if not said, and has to be new or empty.",
    examples=(
        "polyarch plugin new crate",
        "polyarch plugin new crate ~/src/crate --kind observer",
    ),
    exits=(0, 2, 9),
)
@click.argument("name")
@click.argument("directory", required=False, type=click.Path(path_type=Path))
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice(KINDS),
    metavar="|".join(KINDS),
    help="what it is to be, may be repeated (default: a registry and a storage)",
)
@pass_invocation
def new(invocation: Invocation, name: str, directory: Path | None, kinds: tuple[str, ...]) -> None:
    """Print the files that were written, and what comes next."""
    with invocation.session() as session:
        place, files = session.plugin_verbs.new(name, directory, kinds)
    given = directory or place.name
    invocation.show(
        json=[{"directory": str(place), "files": [str(file) for file in files]}],
        quiet=[str(place)],
        lines=[
            *(f"{given}/{file}" for file in files),
            "",
            f"next: pip install -e '{given}[test]' && polyarch plugin check {name} && pytest {given}",
        ],
    )


def _json(each: Registration) -> dict[str, object]:
    return {
        "kind": each.kind,
        "name": each.plugin.name,
        "summary": each.plugin.summary,
        "plugin": each.entry_point,
        "distribution": each.distribution,
    }


def _verdict(report: Report) -> str:
    return {"failed": "FAILED"}.get(report.verdict, report.verdict)


def _shown(report: Report) -> Iterator[str]:
    """A plugin, and beneath it what it registers."""
    point = report.point
    yield f"{point.name}   {point.distribution}   {point.group}: {point.value}"
    if report.verdict == "off":
        yield "  switched off by the settings"
    for each in report.registers:
        yield from _shown_registration(each)
    for fault in report.faults:
        yield f"  PROBLEM   {fault}"


def _shown_registration(each: Registers) -> Iterator[str]:
    from polyarch.plugin_host.kinds import WORDS

    yield f"  {WORDS[each.kind]} {each.name}: {each.summary}"
    if each.kind == "registries":
        yield f"      hosts: {', '.join(each.hosts) or '-'}"
        yield f"      schemes: {', '.join(each.schemes) or '-'}"
    if each.abilities or not each.untried:
        yield f"      can also: {', '.join(each.abilities) or '-'}"
    if each.untried:
        yield f"      not tried: {each.untried}"
