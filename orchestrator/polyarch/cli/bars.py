"""Progress bars on a terminal; with `fleet_table` the only users of rich."""

from __future__ import annotations

import sys

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from polyarch.cli.output import short_id
from polyarch.events import BlobDone, BlobProgress, BlobPushed, BlobRetried, BlobStarted, Event


class Bars:
    """A bar a blob that is on its way, on stderr, gone when the blob is here. NO_COLOR is kept, by rich."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr, highlight=False)
        self._progress = _Narrower(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(compact=True),
            console=self._console,
            transient=True,
            expand=True,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._tasks: dict[str, TaskID] = {}
        self._progress.start()

    def show(self, event: Event) -> None:
        """Move the bars as `event` says."""
        match event:
            case BlobStarted():
                self._end(event.digest)
                task = self._progress.add_task(short_id(event.digest), total=event.size, completed=event.offset)
                self._tasks[event.digest] = task
            case BlobProgress() if event.digest in self._tasks:
                self._progress.update(self._tasks[event.digest], completed=event.received)
            case BlobRetried() if event.digest in self._tasks:
                self._progress.update(self._tasks[event.digest], completed=event.offset)
            case BlobDone() | BlobPushed():
                self._end(event.digest)

    def _end(self, digest: str) -> None:
        if digest in self._tasks:
            self._progress.remove_task(self._tasks.pop(digest))

    def line(self, text: str) -> None:
        """A line above the bars."""
        self._console.print(text, markup=False, soft_wrap=True)

    def close(self) -> None:
        """Take the bars away."""
        self._progress.stop()


class _Narrower(Progress):
    """Leaves room on each line for the ^C that a terminal shows: on the next line it would have one bar left behind."""

    def get_renderable(self) -> RenderableType:
        return _Narrow(super().get_renderable())


class _Narrow:
    def __init__(self, inner: RenderableType) -> None:
        self._inner = inner

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from console.render(self._inner, options.update(width=max(options.max_width - len("^C"), 1)))
