"""Where a rollout stands, counted for people: made of its events alone."""

from __future__ import annotations

import time
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import field
from typing import Literal, TypeAlias

from polyarch.events import Event
from polyarch.fleet.outcomes import DeviceOutcome, DeviceStatus
from polyarch.fleet.plan import UNKNOWN
from polyarch.fleet.plan_event import FleetPlanned
from polyarch.fleet.rollout_events import (
    DeviceBegun,
    DeviceFinished,
    DeviceSent,
    DeviceTried,
    PlatformStopped,
    RolloutBegun,
    WaveBegun,
)
from polyarch_platforms.lazy_dataclass import dataclass

State: TypeAlias = Literal["waiting", "pulling", "done", "up-to-date", "failed", "offline", "skipped"]
STATES: tuple[State, ...] = ("waiting", "pulling", "done", "up-to-date", "failed", "offline", "skipped")
_OF_STATUS: dict[DeviceStatus, State] = {
    "pulled": "done",
    "up-to-date": "up-to-date",
    "failed": "failed",
    "skipped": "skipped",
    "offline": "offline",
}
_WINDOW, _STEP = 15.0, 0.5
"""Seconds that a rate is the mean of, and between two of its points."""


@dataclass(slots=True)
class _Device:
    platform: str
    state: State = "waiting"
    expected: int = 0
    sent: int = 0


@dataclass(slots=True)
class PlatformTally:
    """Devices of a platform by state, and the bytes that went to them."""

    states: Counter[State] = field(default_factory=Counter)
    bytes: int = 0


class FleetTally:
    """Give it each event. `clock` tells seconds that pass."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.platforms: dict[str, PlatformTally] = {}
        self.stopped: set[str | None] = set()
        self.total = self.wave = self.waves = 0
        self.bytes = 0
        self._left = 0  # of what the plan says will go to devices that are not at their end
        self._devices: dict[str, _Device] = {}
        self._clock = clock
        self._points: deque[tuple[float, int]] = deque()

    def take(self, event: Event) -> None:
        """Count what happened; events of other things are passed over."""
        match event:
            case FleetPlanned():
                for plan in event.plan.devices:
                    self._expect(plan.device, plan.platform or UNKNOWN, plan.missing_bytes)
                for outcome in event.outcomes.values():
                    self._finish(outcome)
                self._points.clear()
                self._point()
            case RolloutBegun():
                self.total, self.waves = event.devices, event.waves
                self._point()
            case WaveBegun():
                self.wave, self.waves = event.wave, max(self.waves, event.wave)
                for device, platform in event.members.items():
                    self._device(device, platform)
            case DeviceBegun():
                self._move(self._device(event.device, event.platform), "pulling")
            case DeviceSent() if event.device in self._devices:
                self._send(self._devices[event.device], event.bytes)
            case DeviceTried():
                tried = self._device(event.outcome.device, event.outcome.platform)
                self._move(tried, "offline" if event.outcome.status == "offline" else "waiting")
            case DeviceFinished():
                self._finish(event.outcome)
            case PlatformStopped():
                self.stopped.add(event.platform)

    @property
    def finished(self) -> int:
        """Devices whose turn is over."""
        sums = self.states
        return sum(sums.values()) - sums["waiting"] - sums["pulling"]

    @property
    def states(self) -> Counter[State]:
        """Devices of all platforms by state."""
        return sum((tally.states for tally in self.platforms.values()), Counter())

    @property
    def rate(self) -> float:
        """Bytes a second, of late."""
        if not self._points:
            return 0.0
        then, sent = self._points[0]
        seconds = self._clock() - then
        return (self.bytes - sent) / seconds if seconds > 0 else 0.0

    @property
    def expected(self) -> int:
        """Bytes that will have gone to devices at the end, by the plan."""
        return self.bytes + self._left

    @property
    def seconds_left(self) -> float | None:
        """Until all bytes have gone, as fast as of late; None where that cannot be said."""
        rate = self.rate
        return self._left / rate if rate > 0 and self._left > 0 else None

    def _expect(self, name: str, platform: str, size: int) -> None:
        self._device(name, platform).expected = size
        self._left += size

    def _device(self, name: str, platform: str | None) -> _Device:
        if name not in self._devices:
            self._devices[name] = _Device(platform or UNKNOWN)
            self._of(self._devices[name]).states["waiting"] += 1
        return self._devices[name]

    def _of(self, device: _Device) -> PlatformTally:
        return self.platforms.setdefault(device.platform, PlatformTally())

    def _move(self, device: _Device, state: State) -> None:
        states = self._of(device).states
        states[device.state] -= 1
        states[state] += 1
        device.state = state

    def _send(self, device: _Device, sent: int) -> None:
        more = sent - device.sent
        self._left += max(device.expected - sent, 0) - max(device.expected - device.sent, 0)
        device.sent = sent
        self.bytes += more
        self._of(device).bytes += more
        self._point()

    def _finish(self, outcome: DeviceOutcome) -> None:
        device = self._device(outcome.device, outcome.platform)
        self._send(device, outcome.bytes)
        self._left -= max(device.expected - device.sent, 0)
        device.expected = 0
        self._move(device, _OF_STATUS[outcome.status])

    def _point(self) -> None:
        now = self._clock()
        if not self._points or now - self._points[-1][0] >= _STEP:
            self._points.append((now, self.bytes))
        while len(self._points) > 1 and now - self._points[1][0] >= _WINDOW:
            self._points.popleft()
