"""`polyarch emulate`."""

from __future__ import annotations

from collections.abc import Sequence

import click

from polyarch.cli.invocation import Invocation
from polyarch.cli.options import Command, pass_invocation, platform_option


@click.command(
    "emulate",
    cls=Command,
    help="Run any command in a private emulation: foreign programs start in it, and the host stays as it is. "
    "No root is needed.\n"
    "The exit code is the command's own.",
    examples=(
        "polyarch emulate -- ./built-for-arm64",
        "polyarch emulate --platform linux/riscv64 -- make check",
    ),
    exits=(125, 126, 127, 130),
    passes_code_on=True,
    context_settings={"allow_interspersed_args": False},
)
@platform_option("only these; else all that can be", plural=True)
@click.option("--credential", is_flag=True, help="flag C: setuid works; QEMU has the rights")
@click.argument("argv", metavar="[--] COMMAND...", nargs=-1, required=True, type=click.UNPROCESSED)
@pass_invocation
def command(invocation: Invocation, platform: str | None, credential: bool, argv: Sequence[str]) -> int:
    """Start the command and pass its exit code on."""
    with invocation.session(lines_to_stderr=True) as session:
        return session.emulate(platform.split(",") if platform else [], argv, credential=credential)
