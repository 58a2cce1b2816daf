"""Showing what happens while it happens: docker's plain lines, bars on a terminal, or one JSON object an event."""

from __future__ import annotations

import contextlib
import json
import os
import stat
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from polyarch.cli.output import human_size, short_id
from polyarch.errors import printable
from polyarch.events import (
    BlobDone,
    BlobPushed,
    BlobRetried,
    BlobStarted,
    BuildSaid,
    Event,
    ImageLoading,
    LayerAwaited,
    LayerListed,
    NameTaken,
    PullFinished,
    PullStarted,
    PushFinished,
    PushStarted,
    ServedElsewhere,
    VariantChosen,
    Warned,
)
from polyarch.reference import Reference, parse_reference

if TYPE_CHECKING:
    from polyarch.cli.bars import Bars

_WHERE = {
    "index": "{count} in the index",
    "tag": "found by its tag",
    "manifest": "the only one of the name",
}
_PUSHED = {"uploaded": "Pushed", "exists": "Layer already exists", "mounted": "Mounted from {source}"}


class Progress:
    """An `Emit` that shows events; may be called from any thread, and never raises.

    `mode` is what --progress said. With `report` the lines are the command's own answer, on stdout; else they go to
    stderr. `quiet` leaves only warnings. `parse` reads the references that events name; `pulling` tells that a pull has
    begun.
    """

    def __init__(self, mode: str, *, report: bool, quiet: bool) -> None:
        self.parse: Callable[[str], Reference] = parse_reference
        self.pulling = False
        self._json = mode == "json"
        self._with_layers = mode != "none"
        self._stream: TextIO | None = None
        if report:
            self._stream = sys.stdout
        elif mode == "plain" or (mode == "auto" and not quiet):
            self._stream = sys.stderr
        # What goes through a pipe may come out on the same terminal (`| tee log`), and would be drawn over.
        piped = report and _is_pipe(sys.stdout)
        self._wants_bars = mode == "auto" and not quiet and sys.stderr.isatty() and not piped
        self._bars: Bars | None = None
        self._at_hand: list[str] = []
        self._config = ""
        self._lock = threading.Lock()
        self._over = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        with self._lock:
            # A transfer that has not heard of the end yet must not write any more: behind the command's last line it
            # would confuse, and the end of the interpreter, which cannot wait for it, would be SIGABRT.
            self._over = True
            self._end_bars()

    def __call__(self, event: Event) -> None:
        """Show `event`."""
        with self._lock:
            if self._over:
                return
            self.pulling = self.pulling or isinstance(event, PullStarted)
            if self._json:
                self._write(json.dumps(event.to_json()), sys.stderr)
            elif isinstance(event, Warned):
                self._write(f"warning: {event.message}", sys.stderr)
            if self._wants_bars:
                self._show_bars(event)
            if self._stream is not None:
                for text in self._lines(event):
                    self._write(text, self._stream)

    def _write(self, text: str, stream: TextIO) -> None:
        # Whoever closed the stream is told by the command's last line; a transfer must not break of it.
        with contextlib.suppress(OSError, ValueError):
            if self._bars and stream.isatty():
                self._bars.line(printable(text, 10_000))
            else:
                stream.write(printable(text, 10_000) + "\n")
                stream.flush()

    def _show_bars(self, event: Event) -> None:
        if isinstance(event, PullFinished | PushFinished):
            self._end_bars()
        elif self._bars is not None:
            self._bars.show(event)
        elif isinstance(event, BlobStarted):
            from polyarch.cli.bars import Bars

            self._bars = Bars()
            self._bars.show(event)

    def _end_bars(self) -> None:
        if self._bars is not None:
            self._bars.close()
            self._bars = None

    def _lines(self, event: Event) -> list[str]:
        """The plain lines of an event, docker's where docker has one."""
        match event:
            case PullStarted():
                reference = self.parse(event.reference)
                asked = str(reference) if reference.digest or not reference.tag else reference.tag
                first = ["Using default tag: latest"] if event.tag_defaulted else []
                return [*first, f"{asked}: Pulling from {reference.repository}"]
            case NameTaken():
                why = "an alias" if event.how == "alias" else "the search registries"
                return [f"{event.name}: {event.reference} (by {why} in {event.file})"]
            case ServedElsewhere():
                return [f"Served by {event.host} (for {self.parse(event.reference).registry})"]
            case VariantChosen():
                self._at_hand.clear()
                self._config = event.config
                count = f"{event.candidates} variant{'' if event.candidates == 1 else 's'}"
                where = _WHERE[event.source].format(count=count)
                return [f"Platform: {event.platform} ({event.match}; {where})"]
            case BlobDone() | BlobStarted() if event.digest == self._config:
                return []
            case BlobStarted():
                return self._held_back()
            case BlobRetried() if self._with_layers:
                return [f"{short_id(event.digest)}: Retrying at {human_size(event.offset)} ({event.reason})"]
            case BlobDone() if self._with_layers and event.status == "exists":
                # As docker does, layers at hand are only named where another one comes.
                self._at_hand.append(f"{short_id(event.digest)}: Already exists")
                return []
            case BlobDone() if self._with_layers:
                return [*self._held_back(), f"{short_id(event.digest)}: Pull complete"]
            case BuildSaid():
                return [f"{event.platform} | {event.line}"]
            case LayerListed() if self._with_layers:
                return [f"{short_id(event.digest)}: Listed"]
            case LayerAwaited():
                return [f"{short_id(event.diff_id)}: Waiting for {event.holder}, which makes this layer ready"]
            case ImageLoading():
                return [f"Loading {self.parse(event.reference).familiar} into {event.storage}"]
            case PullFinished():
                name = self.parse(event.reference).familiar
                held = self._held_back() if event.status == "downloaded" else []
                done = "Downloaded newer image" if event.status == "downloaded" else "Image is up to date"
                here = event.status == "downloaded" and event.reused_bytes
                told = [f"Reused: {human_size(event.reused_bytes)} that were here"] if here else []
                told += [f"Prepared: all layers ({event.prepared})"] if event.prepared else []
                return [*held, f"Digest: {event.digest}", *told, f"Status: {done} for {name}"]
            case PushStarted():
                first = ["Using default tag: latest"] if event.tag_defaulted else []
                return [*first, f"The push refers to repository [{self.parse(event.reference).name}]"]
            case BlobPushed() if self._with_layers:
                return [f"{short_id(event.digest)}: {_PUSHED[event.status].format(source=event.source)}"]
            case PushFinished():
                return [f"{self.parse(event.reference).tag}: digest: {event.digest} size: {event.size}"]
            case _:
                return []

    def _held_back(self) -> list[str]:
        lines, self._at_hand = self._at_hand, []
        return lines


def _is_pipe(stream: TextIO) -> bool:
    try:
        return stat.S_ISFIFO(os.fstat(stream.fileno()).st_mode)
    except (OSError, ValueError):  # it is no file
        return False
