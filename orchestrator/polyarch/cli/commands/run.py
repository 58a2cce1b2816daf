"""`polyarch run`."""

from __future__ import annotations

import click

from polyarch.cli.container_options import ContainerWords, container_options
from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation


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
        "polyarch run --rm -m 512m --cpus 1.5 --pids-limit 100 --cap-drop ALL alpine id",
    ),
    exits=(125, 126, 127, 130),
    passes_code_on=True,
    context_settings={"allow_interspersed_args": False},
)
@container_options
@click.option("-d", "--detach", is_flag=True, help="do not wait: see ps, logs, stop")
@pass_invocation
def command(invocation: Invocation, words: ContainerWords, detach: bool) -> int:
    """Start the program and pass its exit code on."""
    with invocation.session(lines_to_stderr=True) as session:
        ran = session.run(
            words.reference,
            words.request(session.settings.environ, detach=detach),
            platform=words.platform,
            emulation=words.emulation,
            pull=words.pull,
            allow_mislabelled=words.allow_mislabelled,
        )
    if ran.exit_code is None:
        invocation.show(json=[{"id": ran.id}], quiet=[ran.id], lines=[ran.id])
        return 0
    return ran.exit_code
