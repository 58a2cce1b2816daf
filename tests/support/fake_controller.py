"""A process that is at a rollout of a fleet in memory, to be killed and interrupted: `python -m`, with FOLDER and HOW.

It prints a line an event. What it did to devices stands in FOLDER/log. HOW is one of

begin, resume  to the end, slowly
skip, end      a device is under way until the runner is told to `skip`, or to `end`
offline        a device is offline, and waited for
pause          there is an hour between two waves
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from polyarch.events import Event
from polyarch.fleet.interrupt import Interrupt
from polyarch.fleet.outcomes import DeviceOutcome
from polyarch.fleet.planned import DevicePlan
from polyarch.fleet.record import RolloutSettings
from polyarch.fleet.rollout import Rollout
from polyarch.fleet.rollouts import Rollouts
from polyarch.fleet.runner import Begun, Happening
from polyarch.fleet.stop_rule import parse_max_fail
from polyarch.fleet.waves import parse_batch
from support.fake_fleet import FakeAttempt, FakeDevice, FakeFleet

PLATFORMS = ("linux/arm/v6", "linux/arm64", "linux/amd64")
SETTINGS = RolloutSettings(parse_batch("3,30%"), parse_max_fail("0"), retries=0)


def devices() -> list[FakeDevice]:
    """Thirty devices of three platforms; those of one fail."""
    return [FakeDevice(f"pi{n}", PLATFORMS[n % 3], always="no-engine" if n % 3 == 0 else None) for n in range(30)]


class _Logged(FakeFleet):
    def __init__(self, folder: Path, how: str) -> None:
        super().__init__(devices())
        self._log, self._how = folder / "log", how
        if self._log.exists():
            for line in self._log.read_text().splitlines():
                word, name = line.split()
                self.device(name).has_image |= word == "pulled"

    def log(self, word: str, name: str) -> None:
        descriptor = os.open(self._log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.write(descriptor, f"{word} {name}\n".encode())
        os.close(descriptor)

    @contextlib.contextmanager
    def attempt(self, devices: Sequence[DevicePlan]) -> Iterator[FakeAttempt]:
        yield _Slow(self, devices) if self._how in ("begin", "resume", "pause") else _Held(self, devices, self._how)


class _Slow(FakeAttempt):
    def __iter__(self) -> Iterator[Happening]:
        fleet = self._fleet
        assert isinstance(fleet, _Logged)
        for happening in super().__iter__():
            if isinstance(happening, Begun):
                fleet.log("begun", happening.device)
            elif isinstance(happening, DeviceOutcome) and happening.status == "pulled":
                fleet.log("pulled", happening.device)
            time.sleep(0.002)
            yield happening


class _Held(_Slow):
    """Its thread hears of nothing: another has to tell it."""

    def __init__(self, fleet: FakeFleet, plans: Sequence[DevicePlan], until: str) -> None:
        super().__init__(fleet, plans)
        self._until, self._told = until, threading.Event()

    def skip(self, devices: Iterable[str]) -> None:
        super().skip(devices)
        if self._until == "skip":
            self._told.set()

    def end(self) -> None:
        super().end()
        self._told.set()

    def __iter__(self) -> Iterator[Happening]:
        for number, happening in enumerate(super().__iter__()):
            yield happening
            if number == 0:
                while not self._told.wait(1):  # a signal that comes just before a wait begins does not end it
                    pass


def main(folder: Path, how: str) -> None:
    rollouts, fleet, interrupt = Rollouts(folder / "rollouts"), _Logged(folder, how), Interrupt()
    settings = SETTINGS
    if how == "offline":
        fleet.devices = [FakeDevice("gone", online=(0, 0))]
        settings = RolloutSettings(wait_offline=3600)
    if how == "pause":
        settings = RolloutSettings(parse_batch("15"), parse_max_fail("100%"), pause=3600)

    def stop(number: int, frame: object) -> None:
        if interrupt.cancelled:
            interrupt.end()
        else:
            interrupt.cancel()
        os.write(1, b"SIGINT\n")

    signal.signal(signal.SIGINT, stop)
    opened = rollouts.resume() if how == "resume" else rollouts.begin(fleet.plan(), settings)

    def tell(event: Event) -> None:
        print(type(event).__name__, flush=True)

    with opened:
        record = Rollout(opened, fleet, fleet.plan_again, emit=tell, interrupt=interrupt).run()
    print("end", record.phase, flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
