"""`polyarch container`: making and starting containers in two steps, and the other commands of containers."""

from __future__ import annotations

from importlib import import_module

import click

from polyarch.cli.completers import containers
from polyarch.cli.container_options import ContainerWords, container_options
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Group, pass_invocation

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
    exits=(0, 2, 3, 4, 5, 6, 7, 8, 9, 130),
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
    help="Start a container that `container create` made.\n"
    "It may be started again when it has ended; what `run` made is started once.",
    examples=("polyarch container start web", "polyarch container start -a job"),
    exits=(0, 2, 3, 8, 9, 125, 126, 127, 130),
    passes_code_on=True,
)
@click.argument("name", metavar="CONTAINER", shell_complete=containers)
@click.option("-a", "--attach", is_flag=True, help="wait for its end, on this terminal; the exit code is its own")
@pass_invocation
def start(invocation: Invocation, name: str, attach: bool) -> int:
    """Start it. Nothing of the program's own comes through without `attach`: the codes are polyarch's then."""
    invocation.passes_code_on = attach
    with invocation.session(lines_to_stderr=True) as session:
        ran = session.containers.start(name, attach=attach)
    if ran.exit_code is None:
        invocation.show(json=[{"id": ran.id}], quiet=[ran.id], lines=[name])
        return 0
    return ran.exit_code


for _name in _ALSO:
    command.add_command(import_module(f"polyarch.cli.commands.{_name}").command)
command.add_command(command.commands["ps"], "ls")
