"""Where a rollout stands: made of its plan and its events alone, whether they happen now or are read from a journal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace

from polyarch.events import Event
from polyarch.fleet.outcomes import SUCCEEDED, DeviceOutcome, Stop, WaveRecord
from polyarch.fleet.plan import UNKNOWN
from polyarch.fleet.planned import Plan
from polyarch.fleet.record import RolloutPhase, RolloutRecord, RolloutSettings, summarize
from polyarch.fleet.rollout_events import (
    DeviceBegun,
    DeviceFinished,
    DeviceTried,
    PlatformStopped,
    RolloutBegun,
    RolloutEnded,
    WaveBegun,
    WaveEnded,
)
from polyarch.fleet.stop_rule import Sign, Tally, sign_of, strikes
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Tries:
    """The attempts at a device whose ends are known, and those that were cut by the end of the controller."""

    attempts: int = 0
    bytes: int = 0
    seconds: float = 0
    began: float = 0


@dataclass(slots=True)
class _Run:
    """A process that worked at the rollout."""

    began: float
    last: float
    origin_bytes: int


class RolloutState:
    """Give it each event once, in order.

    platforms  of all devices, by name; "unknown" where there are no facts
    final      what became of devices
    offline    devices that were offline, and will be tried again
    in_air     devices that have begun, and not ended
    begun      devices that have begun at any time, also before the rollout was resumed
    stops      what the stop rule struck: a platform, or all (None)
    """

    def __init__(self, plan: Plan, settings: RolloutSettings) -> None:
        self._plan, self._settings = plan, settings
        self._without = {  # the images that the plan says of some devices that they cannot be there
            device.device: {image.reference for image in device.images if image.reason_code is not None}
            for device in plan.devices
            if device.reason_code is not None
        }
        self.platforms = {device.device: device.platform or UNKNOWN for device in plan.devices}
        self.final: dict[str, DeviceOutcome] = {}
        self.offline: set[str] = set()
        self.in_air: set[str] = set()
        self.begun: set[str] = set()
        self.stops: dict[str | None, Stop] = {}
        self.phase: RolloutPhase = "running"
        self._tries: dict[str, Tries] = {}
        self._runs: list[_Run] = []
        self._waves: dict[int, WaveRecord] = {}
        self._wave: set[str] = set()  # of the wave that runs: those whose turn is not over
        self._tallies: dict[str, Tally] = {}
        self._failed: Counter[str] = Counter()
        self._left = Counter(self.platforms.values())  # devices that may yet begin

    def stopped(self, device: str) -> bool:
        """The device must not begin any more."""
        return None in self.stops or self.platforms[device] in self.stops

    def staying(self) -> dict[str, DeviceOutcome]:
        """What stays when the rollout is gone on with: the outcomes of devices that succeeded, or that are stopped."""
        return {
            device: self.final[device]
            for device in self.platforms
            if device in self.final and (self.final[device].status in SUCCEEDED or self.stopped(device))
        }

    def total(self, outcome: DeviceOutcome) -> DeviceOutcome:
        """The outcome of one attempt, with the attempts before it added."""
        tries = self._tries.get(outcome.device, Tries())
        return replace(
            outcome,
            attempts=tries.attempts + outcome.attempts,
            bytes=tries.bytes + outcome.bytes,
            seconds=tries.seconds + outcome.seconds,
            began=tries.began or outcome.began,
        )

    def sent(self, device: str) -> int:
        """Bytes that earlier attempts sent to it."""
        return self._tries.get(device, Tries()).bytes

    def apply(self, event: Event) -> tuple[Stop, ...]:
        """Take the event in; what the stop rule strikes because of it."""
        match event:
            case RolloutBegun():
                self._begin(event)
            case WaveBegun():
                self._begin_wave(event)
            case WaveEnded(wave, at):
                self._waves[wave] = replace(self._waves[wave], ended=at)
                self._wave, self._tallies = set(), {}
            case DeviceBegun(device):
                self.in_air.add(device)
                self.begun.add(device)
                self._left[self.platforms[device]] -= 1
            case DeviceTried(outcome):
                self._left[self.platforms[outcome.device]] += outcome.device in self.in_air
                self._end_attempt(outcome)
                if outcome.status == "offline":
                    self.offline.add(outcome.device)
                    self._settle(outcome)
            case DeviceFinished(outcome):
                self._finish(outcome)
            case RolloutEnded():
                self.phase = "cancelled" if event.cancelled else "ended"
                self._runs[-1].origin_bytes = event.origin_bytes
        at = 0.0
        if self._runs:
            at = self._runs[-1].last = max(self._runs[-1].last, _time(event))
        return self._strike(at) if isinstance(event, DeviceTried | DeviceFinished) else ()

    def _begin(self, event: RolloutBegun) -> None:
        """Of an earlier process's work stays what succeeded, and what became of those that are stopped."""
        for device in self.in_air:
            tries = self._tries.get(device, Tries())
            self._tries[device] = replace(tries, attempts=tries.attempts + 1)
        self.final = self.staying()
        self.in_air, self.offline, self._wave, self._tallies = set(), set(), set(), {}
        self._failed = Counter()  # those of what is stopped count no more
        self._left = Counter(platform for device, platform in self.platforms.items() if device not in self.final)
        self._runs.append(_Run(event.at, event.at, event.origin_bytes))
        self.phase = "running"

    def _begin_wave(self, event: WaveBegun) -> None:
        self._learn(event.members)
        record = self._waves.get(event.wave) or WaveRecord(event.wave, (), event.at)
        devices = tuple(dict.fromkeys((*record.devices, *event.members)))
        self._waves[event.wave] = replace(record, devices=devices, ended=0)
        self.offline -= event.members.keys()
        self._wave = set(event.members)
        self._tallies = {
            platform: Tally(count)
            for platform, count in Counter(map(self.platforms.get, event.members)).items()
            if platform
        }
        for device in event.members:
            if device in self.final:
                self._settle(self.final[device])

    def _learn(self, platforms: Mapping[str, str]) -> None:
        """A device that was offline when the plan was made has a platform now."""
        for device, platform in platforms.items():
            if (before := self.platforms[device]) != platform:
                self.platforms[device] = platform
                if device not in self.final and device not in self.in_air:
                    self._left[before] -= 1
                    self._left[platform] += 1

    def _end_attempt(self, outcome: DeviceOutcome) -> None:
        """The outcome is that of all attempts so far."""
        self.in_air.discard(outcome.device)
        self._tries[outcome.device] = Tries(outcome.attempts, outcome.bytes, outcome.seconds, outcome.began)

    def _finish(self, outcome: DeviceOutcome) -> None:
        device = outcome.device
        if device not in self.in_air:
            self._left[self.platforms[device]] -= 1
        self._end_attempt(outcome)
        self.offline.discard(device)
        self.final[device] = outcome
        if outcome.wave and self.sign(outcome) == "failed":
            self._failed[self.platforms[device]] += 1
        self._settle(outcome)

    def _settle(self, outcome: DeviceOutcome) -> None:
        """The device's turn in the wave is over."""
        if outcome.device not in self._wave:
            return
        self._wave.discard(outcome.device)
        platform, sign = self.platforms[outcome.device], self.sign(outcome)
        tally = self._tallies[platform]
        self._tallies[platform] = Tally(
            tally.devices,
            tally.succeeded + (sign == "succeeded"),
            tally.failed + (sign == "failed"),
            tally.nothing + (sign == "nothing"),
        )

    def sign(self, outcome: DeviceOutcome) -> Sign:
        """What the outcome says of the images: `succeeded`, too, where all came that the plan said could."""
        bad = {image.reference for image in outcome.images if image.status == "failed"}
        good = len(bad) < len(outcome.images) and bad <= self._without.get(outcome.device, set())
        return "succeeded" if bad and good and outcome.status == "failed" else sign_of(outcome)

    def _strike(self, at: float) -> tuple[Stop, ...]:
        """Stops of that which has devices to come: without any there is nothing to stop."""
        if not self._tallies:
            return ()
        found = strikes(self._settings.max_fail, self._tallies, self._failed, self.stops.keys())
        new = []
        for platform, reason in found.items():
            if (self._left.total() if platform is None else self._left[platform]) > 0:
                self.stops[platform] = Stop(platform, reason, at)
                new.append(self.stops[platform])
        return tuple(new)

    def record(self, identity: str, *, running: bool, command: Mapping[str, object]) -> RolloutRecord:
        """All that is known; `running` says whether a process is at it."""
        outcomes = {name: self.final[name] for name in self.platforms if name in self.final}
        seconds = sum(run.last - run.began for run in self._runs)
        phase: RolloutPhase = "broken-off" if self.phase == "running" and not running else self.phase
        return RolloutRecord(
            id=identity,
            phase=phase,
            began=self._runs[0].began if self._runs else 0,
            ended=self._runs[-1].last if phase in ("cancelled", "ended") else 0,
            settings=self._settings,
            plan=self._plan,
            waves=tuple(self._waves[number] for number in sorted(self._waves)),
            outcomes=outcomes,
            stops=tuple(self.stops.values()),
            summary=summarize(outcomes.values(), sum(run.origin_bytes for run in self._runs), seconds),
            command=command,
        )


def _time(event: Event) -> float:
    match event:
        case DeviceTried(outcome) | DeviceFinished(outcome):
            return outcome.ended
        case RolloutBegun() | WaveBegun() | WaveEnded() | DeviceBegun() | PlatformStopped() | RolloutEnded():
            return event.at
    return 0
