"""`polyarch container`: making and starting containers in two steps, and the other commands of containers."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

import click

from polyarch.cli.completers import containers
from polyarch.cli.container_options import ContainerWords, container_options
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Group, pass_invocation
from polyarch.errors import UsageError

_ALSO = ("run", "ps", "exec", "cp", "logs", "diff", "commit", "stop", "rm")

command = Group(
    "container",
    help="Containers: made and started in two steps; and the commands of the same names without `container`.",
    examples=("polyarch container create --name new scratch", "polyarch container start web"),
)


@command.command(
    "create",
    help="Make a container without starting it, and print its ID: of an image, or of `scratch`, which is none.\n"
    "Options stand before REF. Then: cp, commit, diff, rm, or container start, which takes the words given here.",
    examples=(
        "polyarch container create --name web -v ./site:/srv nginx",
        "polyarch container create --name new --platform linux/arm64 scratch",
    ),
    exits=(0, 2, 3, 4, 5, 6, 7, 8, 9, 127, 130),
    context_settings={"allow_interspersed_args": False},
)
@container_options
@pass_invocation
def create(invocation: Invocation, words: ContainerWords) -> None:
    """Make it."""
    with invocation.session(lines_to_stderr=True) as session:
        record = session.containers.create(
            words.reference,
            words.request(session.settings.environ),
            platform=words.platform,
            emulation=words.emulation,
            pull=words.pull,
            allow_mislabelled=words.allow_mislabelled,
        )
    invocation.show(json=[{"id": record.id, "name": record.name}], quiet=[record.id], lines=[record.id])


@command.command(
    "start",
    help="Start containers that `container create` made.\n"
    "They may be started again when they have ended; what `run` made is started once. One that runs is left as it is.",
    examples=("polyarch container start web db", "polyarch container start -a job"),
    exits=(0, 2, 3, 8, 9, 10, 125, 126, 127, 130),
)
@click.argument("names", metavar="CONTAINER...", nargs=-1, required=True, shell_complete=containers)
@click.option("-a", "--attach", is_flag=True, help="wait for its end on this terminal; the exit code is its own")
@click.option("-i", "--interactive", is_flag=True, help="--attach, and pass stdin on")
@pass_invocation
def start(invocation: Invocation, names: Sequence[str], attach: bool, interactive: bool) -> int:
    """Start every one. Nothing of a program's own comes through without `attach`: the codes are polyarch's then."""
    attach = attach or interactive
    invocation.passes_code_on = attach
    if attach and len(names) > 1:
        raise UsageError(
            "one container at a time can be on this terminal", "start them without -a and -i, or one by one"
        )
    with invocation.session(lines_to_stderr=True) as session:
        if attach:
            return session.containers.start(names[0], attach=True, interactive=interactive).exit_code or 0

        def begin(name: str) -> None:
            ran = session.containers.start(name)
            invocation.show(json=[{"id": ran.id}], quiet=[ran.id], lines=[name])

        return invocation.each(names, begin)


for _name in _ALSO:
    command.add_command(import_module(f"polyarch.cli.commands.{_name}").command)
command.add_command(command.commands["ps"], "ls")
