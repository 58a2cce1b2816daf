"""A fleet engine in memory: each device is a function from the script, and the port it may reach, to a result."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

from polyarch.contract.fleet import FleetDevice, FleetResult, FleetStarted, FleetStatus, FleetTask
from support.device_answers import device_answer

Device = Callable[[str, int | None], FleetResult]
"""The script and the port -> the result; what it says of the device's name is of no account."""


def answers(*lines: str, began: float = 0, ended: float = 1e12, **words: Any) -> Device:
    """A device that answers these lines of engines."""
    return lambda script, port: FleetResult(
        "", "done", device_answer(*lines, nonce=nonce_in(script), **words), code=0, began=began, ended=ended
    )


def says(output: str, *, error: str = "", code: int = 0) -> Device:
    """A device that prints this, whatever it is asked."""
    return lambda script, port: FleetResult("", "done" if code == 0 else "failed", output, error, code)


def ends(status: FleetStatus, error: str = "") -> Device:
    """A device where it goes wrong."""
    return lambda script, port: FleetResult("", status, error=error)


def nonce_in(script: str) -> str:
    """The nonce of a script's first line."""
    found = re.search(r"polyarch-device \d+ ([0-9a-f]+)", script)
    assert found
    return found[1]


@dataclass
class AnsweringFleet:
    """Satisfies FleetEngine. `asked` are the devices that were, in order; `silent` ones have no result.

    under_way   a run is entered and not left; the next three are what the last one was given
    ended       a run was ended by its `end`
    """

    answering: Mapping[str, Device]
    silent: frozenset[str] = frozenset()
    asked: list[str] = field(default_factory=list)
    under_way: bool = False
    forks: int = 0
    timeout: float = 0
    must_reach: bool = True
    ended: threading.Event = field(default_factory=threading.Event)

    def devices(self, inventory: Sequence[str], pattern: str) -> Sequence[FleetDevice]:
        return [FleetDevice(name) for name in self.answering]

    @contextmanager
    def run(
        self,
        script: str,
        tasks: Sequence[FleetTask],
        *,
        forks: int,
        timeout: float,
        reach: int | None = None,
        must_reach: bool = True,
    ) -> Iterator[AnsweringRun]:
        self.forks, self.timeout, self.must_reach = forks, timeout, must_reach
        self.under_way = True
        try:
            yield AnsweringRun(self, script, [task.device.name for task in tasks], reach)
        finally:
            self.under_way = False


@dataclass
class AnsweringRun:
    """Satisfies FleetRun."""

    fleet: AnsweringFleet
    script: str
    names: Sequence[str]
    reach: int | None
    skipped: set[str] = field(default_factory=set)

    def __iter__(self) -> Iterator[FleetStarted | FleetResult]:
        for name in self.names:
            if name in self.skipped or self.fleet.ended.is_set():
                yield FleetResult(name, "skipped")
                continue
            self.fleet.asked.append(name)
            yield FleetStarted(name, 0)
            result = self.fleet.answering[name](self.script, self.reach)
            if name not in self.fleet.silent:
                yield replace(result, device=name)

    def skip(self, devices: Iterable[str]) -> None:
        self.skipped.update(devices)

    def end(self) -> None:
        self.fleet.ended.set()
