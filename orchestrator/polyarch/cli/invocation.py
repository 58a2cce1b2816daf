"""One call of the command: what its shared options said, and how it answers."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.cli.failures import Failure, failure_of
from polyarch.cli.output import json_line, line
from polyarch.errors import InterruptedPull, PartialError, PolyarchError
from polyarch.redaction import redacted

if TYPE_CHECKING:
    from polyarch.events import Emit
    from polyarch.session import Session

POLYARCH_FAILED = 125
"""The exit code of polyarch's own failures where a program's code is passed on, as docker's; 126 and 127 stay."""


class Invocation:
    """Shared by the group and its commands.

    `given` has the shared options that were written, the later over the earlier ones. `command` is the command's path,
    `passes_code_on` that it hands the exit code of another program through.
    """

    def __init__(self) -> None:
        self.given: dict[str, object] = {}
        self.command = "polyarch"
        self.passes_code_on = False

    @property
    def json(self) -> bool:
        """Whether JSON was asked for."""
        return self.given.get("format") == "json"

    @property
    def quiet(self) -> bool:
        """Whether only identifiers were asked for."""
        return bool(self.given.get("quiet"))

    @property
    def plain(self) -> bool:
        """Whether the answer is for people."""
        return not self.json and not self.quiet

    def show(
        self,
        *,
        json: Iterable[Mapping[str, object]],
        quiet: Iterable[str],
        lines: Iterable[str],
    ) -> None:
        """Print the one of three forms that was asked for; the others are not even made, if they are generators."""
        if self.json:
            for document in json:
                json_line(document)
        else:
            for text in quiet if self.quiet else lines:
                line(text)

    @contextlib.contextmanager
    def session(
        self, *, lines_to_stderr: bool = False, through: Callable[[Emit], Emit] | None = None
    ) -> Iterator[Session]:
        """A session with the settings that were asked for, whose events are shown as they were asked for.

        `lines_to_stderr` keeps stdout free: another program writes there. `through` makes of what shows events what is
        given them first.
        """
        from polyarch.cli.progress import Progress
        from polyarch.session import Session
        from polyarch.settings import load_settings

        settings = load_settings(self._path("root"), self._path("config"), tls_verify=self.given.get("tls_verify"))
        mode = str(self.given.get("progress", "auto"))
        with Progress(mode, report=self.plain and not lines_to_stderr, quiet=self.quiet) as progress:
            try:
                with Session(settings, emit=through(progress) if through else progress) as session:
                    progress.parse = session.reference
                    yield session
            except KeyboardInterrupt:
                hint = "what was fetched is kept for the next try" if progress.pulling else None
                raise InterruptedPull("interrupted", hint) from None

    def _path(self, name: str) -> Path | None:
        value = self.given.get(name)
        return value if isinstance(value, Path) else None

    def each(self, references: Sequence[str], act: Callable[[str], None]) -> int:
        """`act` on every reference, going on after failures; the exit code.

        Raises the error if there is one reference only, PartialError if some failed and some did not.
        """
        asked = list(dict.fromkeys(references))
        failures: dict[str, Failure] = {}
        for text in asked:
            try:
                act(text)
            except PolyarchError as error:
                if len(asked) == 1 or isinstance(error, InterruptedPull):
                    raise
                failures[text] = failure_of(error)
                self.tell(failures[text], error)
        if not failures:
            return 0
        if len(failures) == len(asked):
            return next(iter(failures.values())).exit_code
        raise PartialError(f"{len(failures)} of {len(asked)} failed: the lines above say which", failed=list(failures))

    def tell(self, failure: Failure, error: BaseException) -> None:
        """One line and perhaps a hint on stderr, with `--progress json` an event; with JSON asked for one object on
        stdout, too.
        """
        if self.given.get("debug"):
            import traceback

            sys.stderr.write(redacted("".join(traceback.format_exception(error))))
        if self.given.get("progress") == "json":
            json_line({"event": "Failed", **failure.facts()}, sys.stderr)
        else:
            line(f"error: {failure.message}", sys.stderr)
            if failure.hint:
                line(f"hint: {failure.hint}", sys.stderr)
        if self.json:
            json_line(failure.to_json())
