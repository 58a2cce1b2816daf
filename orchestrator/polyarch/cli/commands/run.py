"""`polyarch run`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Literal

import click

from polyarch.cli.completers import stored_images
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, emulation_option, pass_invocation, platform_option

if TYPE_CHECKING:
    from polyarch.selection.types import EmulationPolicy

_PATH = click.Path(path_type=Path)
_PULL = ["missing", "always", "never"]


@click.command(
    "run",
    cls=Command,
    help="Start an image's program, emulated where needed; what is missing is pulled first.\n"
    "Options stand before REF; what stands behind it is the program's. The exit code is the program's own; with -d the "
    "container's ID is printed once the program runs.",
    examples=(
        "polyarch run --rm -it alpine sh",
        "polyarch run -d --name web -v ./site:/srv nginx",
        "polyarch run --rm --platform linux/arm64 -v ./data:/data alpine uname -m",
    ),
    exits=(125, 126, 127, 130),
    passes_code_on=True,
    context_settings={"allow_interspersed_args": False},
)
@click.argument("reference", metavar="REF", shell_complete=stored_images)
@click.argument("arguments", metavar="[ARG]...", nargs=-1, type=click.UNPROCESSED)
@click.option("-d", "--detach", is_flag=True, help="do not wait: see ps, logs, stop")
@click.option("-i", "--interactive", is_flag=True, help="pass stdin on")
@click.option("-t", "--tty", is_flag=True, help="give the program a terminal")
@click.option("--rm", is_flag=True, help="remove the container when it ends")
@click.option("--name", metavar="NAME", default="", help="what to call the container")
@click.option("-e", "--env", metavar="NAME[=VALUE]", multiple=True, help="set a variable, or pass it on")
@click.option("--env-file", "env_files", metavar="FILE", multiple=True, type=_PATH, help="variables, one a line")
@click.option("-v", "--volume", "volumes", metavar="SOURCE:TARGET[:ro]", multiple=True, help="a file or folder")
@click.option("-w", "--workdir", metavar="DIR", default="", help="start in this folder")
@click.option("-u", "--user", metavar="USER[:GROUP]", default="", help="run as, by name or number")
@click.option("--entrypoint", metavar="PROGRAM", help="in place of the image's; '' for none")
@click.option("--hostname", metavar="NAME", default="", help="the machine's name inside")
@click.option("--read-only", is_flag=True, help="write nothing to the root file system")
@click.option(
    "--network",
    metavar="host|none",
    type=click.Choice(["host", "none"]),
    default="host",
    help="else: host, ports and all",
)
@platform_option("the platform asked for by name")
@emulation_option
@click.option(
    "--pull", metavar="missing|always|never", type=click.Choice(_PULL), default="missing", help="else: missing"
)
@click.option("--allow-mislabelled", is_flag=True, help="take an image as what its programs are")
@pass_invocation
def command(
    invocation: Invocation,
    reference: str,
    arguments: tuple[str, ...],
    detach: bool,
    interactive: bool,
    tty: bool,
    rm: bool,
    name: str,
    env: tuple[str, ...],
    env_files: tuple[Path, ...],
    volumes: tuple[str, ...],
    workdir: str,
    user: str,
    entrypoint: str | None,
    hostname: str,
    read_only: bool,
    network: Literal["host", "none"],
    platform: str | None,
    emulation: EmulationPolicy | None,
    pull: str,
    allow_mislabelled: bool,
) -> int:
    """Start the program and pass its exit code on."""
    from polyarch.container.request import RunRequest

    with invocation.session(lines_to_stderr=True) as session:
        request = RunRequest(
            argv=arguments,
            env=env,
            env_files=env_files,
            environ=session.settings.environ,
            volumes=volumes,
            workdir=workdir,
            user=user,
            entrypoint=entrypoint,
            hostname=hostname,
            read_only=read_only,
            network=network,
            tty=tty,
            interactive=interactive,
            detach=detach,
            rm=rm,
            name=name,
        )
        ran = session.run(
            reference,
            request,
            platform=platform,
            emulation=emulation,
            pull=pull,
            allow_mislabelled=allow_mislabelled,
        )
    if ran.exit_code is None:
        invocation.show(json=[{"id": ran.id}], quiet=[ran.id], lines=[ran.id])
        return 0
    return ran.exit_code
