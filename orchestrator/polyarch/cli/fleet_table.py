"""The table by platform on a terminal while a rollout runs; a user of rich, as `bars`."""

from __future__ import annotations

import sys
import threading

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from polyarch.cli.fleet_lines import brief, event_line, waiting_line
from polyarch.cli.fleet_tally import STATES, FleetTally, State
from polyarch.cli.output import human_size
from polyarch.errors import printable
from polyarch.events import Event, Warned
from polyarch.fleet.rollout_events import (
    DeviceBegun,
    DeviceFinished,
    DeviceTried,
    PlatformStopped,
    RolloutEnded,
    WaveBegun,
)

_STYLES: dict[State, str] = {"pulling": "cyan", "done": "green", "failed": "bold red", "offline": "yellow"}
_ALWAYS: tuple[State, ...] = tuple(state for state in STATES if state != "skipped")
_LONGEST = 10_000
_BYTES = 8  # columns for bytes, and the gap before them


class LiveFleet:
    """The table, on stderr; it stays as it is at the end. What went wrong stands above it. NO_COLOR is kept, by rich.

    May be called from any thread.
    """

    def __init__(self, tally: FleetTally | None = None) -> None:
        self._console = Console(file=sys.stderr, highlight=False)
        self._tally = tally or FleetTally()
        self._note = ""
        self._lock = threading.Lock()
        self._live = Live(
            console=self._console,
            get_renderable=self._shown,
            refresh_per_second=4,
            redirect_stdout=False,
            redirect_stderr=False,
        )
        self._live.start()

    def handle(self, event: Event) -> None:
        """Count `event`, and say above the table what is not as it should be."""
        with self._lock:
            self._tally.take(event)
            if isinstance(event, WaveBegun | DeviceBegun | DeviceFinished):
                self._note = ""
            self._note = waiting_line(event) or self._note
        text = f"warning: {event.message}" if isinstance(event, Warned) else event_line(event) if _bad(event) else None
        if text is not None:
            self.line(text)

    def line(self, text: str) -> None:
        """A line above the table."""
        self._console.print(Text(printable(text, _LONGEST)), overflow="fold")

    def close(self) -> None:
        """Leave the table as it is."""
        with self._lock:
            self._note = ""
        self._live.stop()

    def _shown(self) -> Group:
        with self._lock:
            return Group(
                _table(self._tally, self._console.width),
                _last_line(self._tally, self._console.width),
                *_texts(self._note),
            )


def _bad(event: Event) -> bool:
    """Something that a person should read at once. Skipped devices are many, and what stopped them is said once."""
    if isinstance(event, DeviceFinished):
        return event.outcome.status in ("failed", "offline")
    return isinstance(event, DeviceTried | PlatformStopped) or (isinstance(event, RolloutEnded) and event.cancelled)


def _texts(text: str) -> list[Text]:
    return [Text(printable(text), style="dim")] if text else []


def _table(tally: FleetTally, width: int) -> Table:
    """Where the terminal is narrow, columns without a device are left out, and gaps are."""
    used = tally.states
    states = [state for state in STATES if state in _ALWAYS or used[state]]
    stopped = {name: " ■" if name in tally.stopped or None in tally.stopped else "" for name in tally.platforms}
    names = {name: printable(name, 40) + stopped[name] for name in sorted(tally.platforms)}
    least = max(map(len, [*names.values(), "platform"])) + _BYTES
    sizes = {state: max(len(state), len(f"{used[state]:,}")) for state in STATES}
    if least + sum(sizes[state] + 2 for state in states) > width:
        states = [state for state in states if used[state]]
    gap = 2 if least + sum(sizes[state] + 2 for state in states) <= width else 1
    table = Table(box=None, pad_edge=False, padding=(0, gap, 0, 0), header_style="bold")
    table.add_column("platform", no_wrap=True, overflow="ellipsis")
    for title in (*states, "bytes"):
        table.add_column(title, justify="right", no_wrap=True)
    for name, shown in names.items():
        one = tally.platforms[name]
        cells = [_cell(state, one.states[state]) for state in states]
        table.add_row(Text(shown), *cells, Text(human_size(one.bytes) if one.bytes else "-"))
    return table


def _cell(state: State, number: int) -> Text:
    return Text(f"{number:,}", style=_STYLES.get(state, "")) if number else Text("-", style="dim")


def _last_line(tally: FleetTally, width: int) -> Text:
    """What all of them come to: `wave 2 of 3  47 of 120 devices  1.2GB of 3.4GB  14MB/s  2m10s left`.

    Where the terminal is narrow, without the rate, and then without the bytes, which the table has.
    """
    wave = f"wave {tally.wave} of {tally.waves}" if tally.wave else ""
    devices = f"{tally.finished:,} of {max(tally.total, sum(tally.states.values())):,} devices"
    bytes = f"{human_size(tally.bytes)} of {human_size(tally.expected)}"
    rate = f"{human_size(int(tally.rate))}/s" if tally.rate >= 1 else ""
    left = f"{brief(tally.seconds_left)} left" if tally.seconds_left is not None else ""
    forms = ((wave, devices, bytes, rate, left), (wave, devices, bytes, left), (wave, devices, left))
    texts = ["  ".join(part for part in form if part) for form in forms]
    return Text(next((text for text in texts if len(text) <= width), texts[-1]))
