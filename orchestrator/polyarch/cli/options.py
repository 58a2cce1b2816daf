"""Commands and groups that know the shared options, and show help in one form."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from polyarch.cli.catalogue import EXIT_CODES, HELP_OPTION, INSTEAD, SHARED_OPTIONS
from polyarch.cli.completers import devices, platforms
from polyarch.cli.help_page import examples, exit_codes, section
from polyarch.cli.invocation import Invocation
from polyarch.cli.output import write

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

_WIDTH = 80

F = TypeVar("F", bound=Callable[..., Any])

pass_invocation = click.make_pass_decorator(Invocation)


class FilePath(click.ParamType):  # type: ignore[type-arg]  # it has no argument before click 8.5
    """A path as it is written. click's own asks the operating system for the language of its name, every time anew."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The path of a word. Fails, which ends the command with a usage error, for an empty one."""
        if not value:
            self.fail("a path is not empty", param, ctx)
        return Path(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The shell knows its files best."""
        from click.shell_completion import CompletionItem

        return [CompletionItem(incomplete, type="file")]


class Count(click.types.IntParamType):
    """Not below zero."""

    name = "whole number"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Fails, which ends the command with a usage error, for anything else."""
        number: int = super().convert(value, param, ctx)
        if number < 0:
            self.fail(f"{number} is below zero", param, ctx)
        return number


class SharedOption(click.Option):
    """An option that every command takes, before its name and behind it; what is written last counts."""


def _remember(ctx: click.Context, param: click.Parameter, value: object) -> None:
    invocation = ctx.find_object(Invocation)
    if invocation and param.name and ctx.get_parameter_source(param.name) is ParameterSource.COMMANDLINE:
        invocation.given[param.name] = value


def _shared_options() -> list[click.Parameter]:
    options: list[click.Parameter] = []
    for name, flags, value, text in SHARED_OPTIONS:
        kind: dict[str, Any] = {"is_flag": True, "default": False}
        if "|" in value:
            kind = {"type": click.Choice(value.split("|")), "metavar": value}
        elif value:
            kind = {"type": FilePath(), "metavar": value}
        option = SharedOption([name, *flags], help=text, expose_value=False, callback=_remember, **kind)
        options.append(option)
    return options


def _show_help(ctx: click.Context, param: click.Parameter, value: bool) -> None:
    if value and not ctx.resilient_parsing:
        write(ctx.get_help() + "\n")
        ctx.exit()


class Command(click.Command):
    """A command with the shared options.

    `examples` and `exits` (codes) are for the help. `passes_code_on`: it hands the code of another program through.
    """

    def __init__(
        self,
        *args: Any,
        examples: Sequence[str] = (),
        exits: Sequence[int] = (),
        passes_code_on: bool = False,
        **kwargs: Any,
    ) -> None:
        super().__init__(*args, **kwargs)
        self.params += _shared_options()
        self.examples = examples
        self.exits = exits
        self.passes_code_on = passes_code_on

    def make_context(
        self, info_name: str | None, args: list[str], parent: click.Context | None = None, **extra: Any
    ) -> click.Context:
        """Notes, before any word is read, whose failure it would be."""
        invocation = parent.find_object(Invocation) if parent else None
        if invocation and parent:
            invocation.command = f"{parent.command_path} {info_name}"
            invocation.passes_code_on = self.passes_code_on
        return super().make_context(info_name, args, parent, **extra)

    def get_help_option(self, ctx: click.Context) -> click.Option:
        """`-h` and `--help`."""
        return SharedOption(
            ["-h", "--help"], is_flag=True, is_eager=True, expose_value=False, callback=_show_help, help=HELP_OPTION[1]
        )

    def get_help(self, ctx: click.Context) -> str:
        """What the command does, its own options, the shared ones, examples, exit codes."""
        own: list[tuple[str, str]] = []
        shared: list[tuple[str, str]] = []
        for param in self.get_params(ctx):
            record = param.get_help_record(ctx) if isinstance(param, click.Option) else None
            if record:
                (shared if isinstance(param, SharedOption) else own).append(record)
        import textwrap

        blocks = [
            f"Usage: {ctx.command_path} {' '.join(self.collect_usage_pieces(ctx))}",
            *(textwrap.fill(paragraph, _WIDTH) for paragraph in (self.help or "").splitlines()),
            section("Commands", self.summaries(ctx)),
            section("Options", own),
            section("Options of every command", shared),
            examples(self.examples),
            exit_codes(code for code in EXIT_CODES if code in self.exits),
        ]
        return "\n\n".join(block for block in blocks if block)

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        """The commands below this one."""
        return []


class Group(Command, click.Group):
    """A group with the shared options; without a further word it shows its help."""

    command_class = Command

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("invoke_without_command", True)
        kwargs.setdefault("callback", _help_where_alone)
        super().__init__(*args, **kwargs)

    def summaries(self, ctx: click.Context) -> list[tuple[str, str]]:
        """The commands of the group."""
        found = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        return [(name, _first_sentence(command.help or "")) for name, command in found if command]

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order in which they were written down."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that `args` names. Raises click.UsageError, which offers what is near."""
        if self.get_command(ctx, args[0]) is None and not ctx.resilient_parsing:
            raise click.UsageError(f"{ctx.command_path} has no command {args[0]!r}{self.instead_of(ctx, args[0])}", ctx)
        return super().resolve_command(ctx, args)

    def instead_of(self, ctx: click.Context, word: str) -> str:
        """The way that polyarch has for a command of docker's, else what is near, in parentheses; "" if nothing is."""
        whole = f"{ctx.command_path} {word}".removeprefix("polyarch ")
        if whole in INSTEAD:
            shown = INSTEAD[whole] if ctx.parent is None else f"polyarch {INSTEAD[whole]}".replace(", ", ", polyarch ")
            return f" (instead: {shown})"
        from difflib import get_close_matches

        near = get_close_matches(word, self.list_commands(ctx), n=3, cutoff=0.6)
        return f" (near: {', '.join(near)})" if near else ""


def _first_sentence(text: str) -> str:
    return re.split(r"[.;:]\s", text + " ", maxsplit=1)[0]


def _help_where_alone() -> None:
    ctx = click.get_current_context()
    if ctx.invoked_subcommand is None:
        write(ctx.get_help() + "\n")


def platform_option(text: str = "which one, where several are at hand", *, plural: bool = False) -> Callable[[F], F]:
    """`--platform`, and what it asks for in this command; `plural` says that it takes several with commas between."""
    metavar = "OS/ARCH[/VARIANT]" + (",..." if plural else "")
    return click.option("--platform", metavar=metavar, shell_complete=platforms, help=text, callback=_all_named)


def _all_named(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    if value is not None and not all(value.split(",")):
        raise click.BadParameter(f"a platform is missing in {value!r}", ctx, param)
    return value


def compression_option(text: str) -> Callable[[F], F]:
    """`--compression`, and what it does in this command."""
    ways = ["gzip", "zstd", "zstd:chunked"]
    return click.option("--compression", metavar="|".join(ways), type=click.Choice(ways), help=text)


def device_option(function: F) -> F:
    """`--device`."""
    text = "for that device, see: polyarch device ls"
    return click.option("--device", metavar="NAME|FILE", shell_complete=devices, help=text)(function)


def emulation_option(function: F) -> F:
    """`--emulation`."""
    text = "auto: emulated where nothing native exists"
    return click.option("--emulation", metavar="auto|never", type=click.Choice(["auto", "never"]), help=text)(function)
