"""Whatever ends a command badly, as one line for people, one object for scripts, and an exit code."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from dataclasses import field

import click

from polyarch.errors import InterruptedPull, PolyarchError, UsageError, foreign, printable
from polyarch.files import disk_error, is_disk_fault, is_without_working_directory, no_working_directory
from polyarch.redaction import redacted
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a command failed."""

    code: str
    exit_code: int
    message: str
    hint: str | None = None
    details: Mapping[str, object] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        return {"error": self.facts()}

    def facts(self) -> dict[str, object]:
        """What scripts are told."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "details": dict(self.details)}


def failure_of(error: BaseException, command: str = "polyarch") -> Failure:
    """What to tell of `error`, which ended `command` (`polyarch pull`). A defect's traceback is put into a file."""
    if isinstance(error, PolyarchError):
        return Failure(error.code, error.exit_code, error.message, error.hint, error.details)
    if isinstance(error, click.Abort | KeyboardInterrupt | EOFError):
        return Failure(InterruptedPull.code, InterruptedPull.exit_code, "interrupted")
    if isinstance(error, click.ClickException):
        at = error.ctx.command_path if isinstance(error, click.UsageError) and error.ctx else command
        message = printable(_refused(error).strip(), 2000).rstrip(".")
        if message[1:2].islower():
            message = message[0].lower() + message[1:]
        return Failure(UsageError.code, UsageError.exit_code, message, f"see: {at} --help")
    if isinstance(error, OSError) and is_disk_fault(error):
        return failure_of(disk_error(error, f"cannot go on{_at(error)}"), command)
    if is_without_working_directory(error):
        return failure_of(no_working_directory(), command)
    what = foreign(error)
    return Failure(
        PolyarchError.code,
        PolyarchError.exit_code,
        f"a defect in polyarch: {printable(what)}",
        _report(error),
        {"exception": type(error).__name__},
    )


def _at(error: OSError) -> str:
    name = error.filename
    return f" at {os.fsdecode(name)}" if isinstance(name, str | bytes) else ""


def _refused(error: click.ClickException) -> str:
    """click's words, with what is near as polyarch says it."""
    if not isinstance(error, click.NoSuchOption):
        return error.format_message()
    near = f" (near: {', '.join(error.possibilities)})" if error.possibilities else ""
    return f"no such option {error.option_name!r}{near}"


def _report(error: BaseException) -> str:
    """Write the traceback where the user finds it; the hint that says where. No word of the command line is in it."""
    import platform
    import tempfile
    import traceback

    from polyarch import __version__

    about = f"polyarch {__version__}, Python {platform.python_version()}, {platform.platform()}\n\n"
    text = about + redacted("".join(traceback.format_exception(error)))
    with contextlib.suppress(OSError):
        number, path = tempfile.mkstemp(prefix="polyarch-report-", suffix=".txt")
        with os.fdopen(number, "w", encoding="utf-8", errors="backslashreplace") as stream:
            stream.write(text)
        return f"the report lies in {path}; please pass it on to polyarch's authors"
    return "run it again with --debug, and pass what it says on to polyarch's authors"
