"""`polyarch exec`."""

from __future__ import annotations

from pathlib import Path

import click

from polyarch.cli.completers import containers
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation

_PATH = click.Path(path_type=Path)


@click.command(
    "exec",
    cls=Command,
    help="Start one more program in a container that runs.\n"
    "Options stand before CONTAINER; what stands behind it is the program's. The exit code is the program's own.",
    examples=("polyarch exec -it web sh", "polyarch exec -u nobody -w /srv web ls -l"),
    exits=(125, 126, 127, 130),
    passes_code_on=True,
    context_settings={"allow_interspersed_args": False},
)
@click.argument("name", metavar="CONTAINER", shell_complete=containers)
@click.argument("arguments", metavar="PROGRAM [ARG]...", nargs=-1, required=True, type=click.UNPROCESSED)
@click.option("-i", "--interactive", is_flag=True, help="pass stdin on")
@click.option("-t", "--tty", is_flag=True, help="give the program a terminal")
@click.option("-e", "--env", metavar="NAME[=VALUE]", multiple=True, help="set a variable, or pass it on")
@click.option("--env-file", "env_files", metavar="FILE", multiple=True, type=_PATH, help="variables, one a line")
@click.option("-w", "--workdir", metavar="DIR", default="", help="start in this folder; else: the container's")
@click.option("-u", "--user", metavar="USER[:GROUP]", default="", help="run as, by name or number")
@pass_invocation
def command(
    invocation: Invocation,
    name: str,
    arguments: tuple[str, ...],
    interactive: bool,
    tty: bool,
    env: tuple[str, ...],
    env_files: tuple[Path, ...],
    workdir: str,
    user: str,
) -> int:
    """Start the program and pass its exit code on."""
    from polyarch.container.request import ExecRequest

    with invocation.session(lines_to_stderr=True) as session:
        request = ExecRequest(
            argv=arguments,
            env=env,
            env_files=env_files,
            environ=session.settings.environ,
            workdir=workdir,
            user=user,
            tty=tty,
            interactive=interactive,
        )
        return session.containers.exec(name, request)
