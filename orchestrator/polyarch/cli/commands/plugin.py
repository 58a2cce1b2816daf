"""`polyarch plugin`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Group, pass_invocation
from polyarch.cli.output import columns, terminal_width

if TYPE_CHECKING:
    from polyarch.plugin_kinds import Registration

_KINDS = {
    "registries": "registry",
    "storages": "storage",
    "tag_conventions": "tag convention",
    "emulators": "emulator source",
    "verifiers": "verifier",
    "fleet_engines": "fleet engine",
    "observers": "observer",
}

command = Group(
    "plugin",
    help="The plugins that were found, and what they register.",
    examples=("polyarch plugin ls", "polyarch plugin ls --format json"),
)


@command.command(
    "ls",
    help="List what plugins register, and the plugins that are broken or switched off.",
    examples=("polyarch plugin ls", "polyarch plugin ls -q"),
    exits=(0, 2),
)
@pass_invocation
def ls(invocation: Invocation) -> None:
    """Print a line a registration. Broken plugins were told as warnings when they were found."""
    with invocation.session() as session:
        host = session.plugins
    documents = [_json(each) for each in host.registrations]
    documents += [
        {"plugin": each.entry_point, "distribution": each.distribution, "problem": each.reason}
        for each in host.problems
    ]
    documents += [{"plugin": name, "disabled": True} for name in host.disabled]
    rows = [("KIND", "NAME", "FROM", "SUMMARY")]
    rows += [
        (_KINDS.get(each.kind, each.kind), each.plugin.name, each.distribution, each.plugin.summary)
        for each in host.registrations
    ]
    rows += [("-", name, "-", "switched off by the settings") for name in host.disabled]
    invocation.show(
        json=documents,
        quiet=dict.fromkeys(each.plugin.name for each in host.registrations),
        lines=columns(rows, terminal_width()),
    )


def _json(each: Registration) -> dict[str, object]:
    return {
        "kind": each.kind,
        "name": each.plugin.name,
        "summary": each.plugin.summary,
        "plugin": each.entry_point,
        "distribution": each.distribution,
    }
