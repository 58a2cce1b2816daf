"""The group of all commands, each loaded when it is asked for, and the way from words to an exit code."""

from __future__ import annotations

import contextlib
import io
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import click
from click.exceptions import Exit

from polyarch import __version__
from polyarch.cli.catalogue import PLACES, VERSION_OPTION, commands
from polyarch.cli.failures import failure_of
from polyarch.cli.help_page import help_page
from polyarch.cli.invocation import POLYARCH_FAILED, Invocation
from polyarch.cli.options import Group
from polyarch.cli.output import write
from polyarch.errors import InterruptedPull, PolyarchError
from polyarch.signals import ignore_ending_signals, interrupt_at_ending_signals


class Polyarch(Group):
    """All commands. The help page comes from the catalogue, so that it loads none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command's name."""
        return list(commands())

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command out of its module; None if there is none of that name."""
        if cmd_name not in commands():
            return None
        module, name = PLACES.get(cmd_name, (cmd_name, "command"))
        command: click.Command = getattr(import_module(f"polyarch.cli.commands.{module}"), name)
        return command

    def get_help(self, ctx: click.Context) -> str:
        """The same text as without click."""
        return help_page().rstrip("\n")

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command. Ctrl-C, SIGTERM and SIGHUP come out of it as an error of polyarch's."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise InterruptedPull("interrupted") from None


def _show_version(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        write(f"polyarch {__version__}\n")
        ctx.exit()


polyarch = Polyarch(
    "polyarch",
    params=[
        click.Option(
            [VERSION_OPTION[0]],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help=VERSION_OPTION[1],
        )
    ],
)


def run(argv: Sequence[str]) -> int:
    """Do what `argv` says; the exit code. No exception comes out of it."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a terminal that cannot show a letter is no reason to fail
    # SIGTERM takes the way of Ctrl-C: everything is given back, and what was fetched is kept. So does SIGHUP, where a
    # connection is lost, unless it is to be survived (nohup).
    interrupt_at_ending_signals()
    invocation = Invocation()
    try:
        code = polyarch.main(list(argv), "polyarch", standalone_mode=False, obj=invocation)
        return code if isinstance(code, int) else 0
    except (Exception, KeyboardInterrupt) as error:
        return _failed(error, invocation, argv)


def _failed(error: BaseException, invocation: Invocation, argv: Sequence[str]) -> int:
    ignore_ending_signals()  # only a line or two are left to be written
    if isinstance(error, click.UsageError):
        for name in ("format", "progress"):
            invocation.given.setdefault(name, _asked_in(argv, f"--{name}"))
    failure = failure_of(error, invocation.command)
    with contextlib.suppress(Exit, PolyarchError):  # where nobody listens, the code still tells
        invocation.tell(failure, error)
    if invocation.passes_code_on and failure.exit_code < POLYARCH_FAILED:
        return POLYARCH_FAILED
    return failure.exit_code


def _asked_in(argv: Sequence[str], option: str) -> str | None:
    """The value of an option in words that could not be understood."""
    words = list(argv[: argv.index("--")] if "--" in argv else argv)
    asked = [word.removeprefix(f"{option}=") for word in words if word.startswith(f"{option}=")]
    with contextlib.suppress(ValueError, IndexError):
        asked.append(words[words.index(option) + 1])
    return asked[-1] if asked else None
