"""`polyarch completion`."""

from __future__ import annotations

import click

from polyarch.cli.options import Command
from polyarch.cli.output import write


@click.command(
    "completion",
    cls=Command,
    help="Print the completion script of a shell: bash, zsh or fish.",
    examples=(
        "polyarch completion bash > ~/.local/share/bash-completion/completions/polyarch",
        "polyarch completion fish > ~/.config/fish/completions/polyarch.fish",
    ),
    exits=(0, 2),
)
@click.argument("shell", metavar="SHELL", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, shell: str) -> None:
    """Print click's own script for this program."""
    from click.shell_completion import get_completion_class

    kind = get_completion_class(shell)
    if kind is not None:
        write(kind(ctx.find_root().command, {}, "polyarch", "_POLYARCH_COMPLETE").source().strip() + "\n")
