"""A runtime on this process's input and output, to its end."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from polyarch.container.emulation import exit_code
from polyarch.container.launch import Launch
from polyarch.container.request import ExecRequest, RunRequest
from polyarch.container.runtime import Runtime, complaint
from polyarch.errors import HostError

if TYPE_CHECKING:
    from polyarch.container.console import Console


class MakesLaunch(Protocol):
    """Makes what is to be launched."""

    def __call__(
        self, files: dict[int, int], console: Path | None, *, own_group: bool, resized: Callable[[], None]
    ) -> Launch:
        """`files` become 0, 1 and 2; `console` is the socket for a terminal; the rest is Launch's."""


def to_its_end(
    request: RunRequest | ExecRequest,
    runtime: Runtime,
    place: Path,
    program: str,
    launch: MakesLaunch,
    started: Callable[[int], None] = lambda pid: None,
) -> int:
    """Start it, pass signals on, wait; the exit code. `place` is for its console and has its log.

    Raises HostError, and what the runtime complained of: `program` did not start.
    """
    with contextlib.ExitStack() as stack:
        console: Console | None = None
        files = dict[int, int]()
        if request.tty and runtime.hands_console_over:
            from polyarch.container.console import Console

            console = Console(place, interactive=request.interactive)
            stack.callback(console.close)
        if console is not None or not (request.interactive or request.tty):
            files[0] = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
            stack.callback(os.close, files[0])

        def begun(pid: int) -> None:
            started(pid)
            if console is not None:
                console.start()

        made = launch(
            files,
            console.path if console is not None else None,
            own_group=console is not None or not request.tty,
            resized=console.resize if console is not None else lambda: None,
        )
        try:
            code = exit_code(made.run(begun))
        except OSError as error:
            raise HostError(f"{runtime.path} cannot be started: {error.strerror}") from error
    failure = complaint(place / "log", program) if code else None
    if failure is not None:
        raise failure
    return code


def terminal_size() -> tuple[int, int] | None:
    """Rows and columns of the terminal that this process's input is; None if it is none."""
    try:
        columns, rows = os.get_terminal_size(0)
    except OSError:
        return None
    return rows, columns
