"""The text of `polyarch --help`, made of the catalogue alone."""

from collections.abc import Iterable

from polyarch.cli.catalogue import (
    EXAMPLES,
    EXIT_CODES,
    HELP_OPTION,
    SECTIONS,
    SHARED_OPTIONS,
    SUMMARY,
    VERSION_OPTION,
)

_INDENT = "  "
_MAX_LEFT = 32
_PASSING_ON = (125, 126, 127)  # the help of `run` and `emulate` tells of these


def help_page() -> str:
    """The page, for 80 columns, with a newline at its end."""
    options = [(shown_flags(flags, value), text) for _, flags, value, text in SHARED_OPTIONS]
    options += [HELP_OPTION, VERSION_OPTION]
    blocks = [
        "Usage: polyarch [OPTIONS] COMMAND [ARGS]...",
        SUMMARY,
        *(section(title, entries) for title, entries in SECTIONS),
        section("Options, before or behind the command", options),
        examples(EXAMPLES),
        exit_codes(code for code in EXIT_CODES if code not in _PASSING_ON),
        "polyarch COMMAND --help says more of a command.",
    ]
    return "\n\n".join(blocks) + "\n"


def shown_flags(flags: Iterable[str], value: str) -> str:
    """The flags of an option as help shows them: `-q, --quiet`, `--root DIR`."""
    shown = ", ".join(flags).replace("/", " / ")
    return f"{shown} {value}" if value else shown


def section(title: str, entries: Iterable[tuple[str, str]]) -> str:
    """A title and its entries in two columns; "" without entries."""
    rows = list(entries)
    if not rows:
        return ""
    width = max((len(left) for left, _ in rows if len(left) <= _MAX_LEFT), default=0)
    lines = []
    for left, right in rows:
        if len(left) > _MAX_LEFT:
            lines += [f"{_INDENT}{left}", f"{_INDENT}{'':{width}}  {right}"]
        else:
            lines.append(f"{_INDENT}{left:{width}}  {right}")
    return "\n".join([f"{title}:", *lines])


def examples(commands: Iterable[str]) -> str:
    """The section of examples; "" without any."""
    lines = [f"{_INDENT}{command}" for command in commands]
    return "\n".join(["Examples:", *lines]) if lines else ""


def exit_codes(codes: Iterable[int]) -> str:
    """The section of exit codes."""
    return section("Exit codes", ((f"{code:3}", EXIT_CODES[code]) for code in codes))
