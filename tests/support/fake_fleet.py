"""A fleet in memory: devices that come and go and fail as they are told to, a clock, and a runner for them."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from polyarch.events import Event
from polyarch.fleet.interrupt import Interrupt
from polyarch.fleet.outcomes import DeviceOutcome, ImageOutcome
from polyarch.fleet.planned import DevicePlan, ImagePlan, Plan, PlanSummary
from polyarch.fleet.reasons import ReasonCode
from polyarch.fleet.record import RolloutRecord
from polyarch.fleet.rollout import Rollout
from polyarch.fleet.rollouts import OpenRollout
from polyarch.fleet.runner import Begun, Happening, Sent
from support.fleet_plans import APP, OTHER, digest

IMAGE_BYTES = 1000


@dataclass
class FakeDevice:
    """A device.

    fails     the reason codes of its attempts, one after the other; then they succeed. "" is an attempt that succeeds
    always    every attempt fails for this reason
    cannot    it cannot be planned for
    without   it cannot have a further image
    online    the times between which it can be reached
    """

    name: str
    platform: str = "linux/arm64"
    fails: Sequence[ReasonCode | str] = ()
    always: ReasonCode | None = None
    cannot: ReasonCode | None = None
    without: ReasonCode | None = None
    online: tuple[float, float] = (0, float("inf"))
    has_image: bool = False
    attempts: int = 0
    pulls: int = 0


@dataclass
class FakeFleet:
    """Devices, and what happened to them. Its clock moves only when somebody waits."""

    devices: Sequence[FakeDevice]
    forks: int = 3
    random: random.Random = field(default_factory=lambda: random.Random(1))
    now: float = 1_000_000.0
    begun: list[str] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    planned: list[tuple[str, ...]] = field(default_factory=list)
    skipped: list[tuple[str, ...]] = field(default_factory=list)

    def device(self, name: str) -> FakeDevice:
        return next(device for device in self.devices if device.name == name)

    def reachable(self, device: FakeDevice) -> bool:
        begin, end = device.online
        return begin <= self.now - 1_000_000 < end

    def plan(self) -> Plan:
        devices = tuple(self._plan(device) for device in self.devices)
        return Plan(devices, PlanSummary(len(devices), {}, 0, 0))

    def plan_again(self, names: Sequence[str]) -> Sequence[DevicePlan]:
        self.planned.append(tuple(names))
        return [self._plan(self.device(name)) for name in names]

    def _plan(self, device: FakeDevice) -> DevicePlan:
        if not self.reachable(device):
            return DevicePlan(device.name, None, None, None, None, (), None, 0, "cannot", "no route", "offline")
        line = ImagePlan(
            APP,
            digest("app"),
            digest("manifest", device.platform),
            "docker.io/library/app",
            device.platform,
            "exact",
            missing_bytes=0 if device.has_image else IMAGE_BYTES,
            present=device.has_image,
        )
        plan = DevicePlan(
            device.name, device.platform, None, "exact", "docker", (line,), None, 0, "will-pull", "it is missing"
        )
        if device.cannot:
            return replace(plan, verdict="cannot", reason="it cannot", reason_code=device.cannot)
        if device.without:
            bad = ImagePlan(OTHER, reason="it cannot be", reason_code=device.without)
            plan = replace(plan, images=(line, bad), reason_code=device.without)
            return replace(plan, verdict="cannot", reason="it cannot be") if device.has_image else plan
        return replace(plan, verdict="ready", reason="all is at hand") if device.has_image else plan

    @contextlib.contextmanager
    def attempt(self, devices: Sequence[DevicePlan]) -> Iterator[FakeAttempt]:
        assert devices
        yield FakeAttempt(self, devices)


class FakeAttempt:
    """Some devices at once, in an order that is the fleet's random one."""

    def __init__(self, fleet: FakeFleet, plans: Sequence[DevicePlan]) -> None:
        self._fleet, self._plans = fleet, list(plans)
        self._skipped: set[str] = set()
        self._ended = False

    def skip(self, devices: Iterable[str]) -> None:
        self._fleet.skipped.append(tuple(devices))
        self._skipped.update(self._fleet.skipped[-1])

    def end(self) -> None:
        self._ended = True

    def __iter__(self) -> Iterator[Happening]:
        fleet, waiting, air = self._fleet, list(self._plans), list[DevicePlan]()
        for plan in waiting:
            assert plan.verdict == "will-pull"
        while waiting or air:
            if waiting and (self._ended or waiting[0].device in self._skipped):
                plan = waiting.pop(0)
                yield self._outcome(plan, "skipped", "stopped", attempts=1)
            elif waiting and len(air) < fleet.forks and (not air or fleet.random.random() < 0.6):
                air.append(waiting.pop(0))
                fleet.begun.append(air[-1].device)
                fleet.device(air[-1].device).attempts += 1
                yield Begun(air[-1].device, fleet.now)
            elif air and self._ended:
                yield self._outcome(air.pop(), "failed", "interrupted")
            elif air:
                plan = air.pop(fleet.random.randrange(len(air)))
                yield Sent(plan.device, plan.missing_bytes)
                yield self._end(plan)

    def _end(self, plan: DevicePlan) -> DeviceOutcome:
        device = self._fleet.device(plan.device)
        code = device.always or ""
        if not code and device.fails:
            code, device.fails = device.fails[0], device.fails[1:]
        if not self._fleet.reachable(device):
            return self._outcome(plan, "offline", "offline")
        if code:
            return self._outcome(plan, "failed", code)
        if device.has_image:
            return self._outcome(plan, "up-to-date")
        device.has_image, device.pulls = True, device.pulls + 1
        return self._outcome(plan, "pulled", sent=IMAGE_BYTES)

    def _outcome(
        self, plan: DevicePlan, status: str, code: str | None = None, *, sent: int = 0, attempts: int = 1
    ) -> DeviceOutcome:
        failed = status not in ("pulled", "up-to-date")
        images = tuple(
            ImageOutcome(image.reference, "failed" if failed or image.reason_code else status, image.manifest)
            for image in plan.images
        )
        if not failed and plan.reason_code:
            status, code = "failed", plan.reason_code
        return DeviceOutcome(
            plan.device,
            plan.platform,
            status,
            images,
            bytes=sent,
            seconds=1,
            reason_code=code,
            error=f"it says {code} of 127.0.0.1:5000/polyarch/{'0' * 32}" if status == "failed" else None,
            engine=plan.engine,
            transport="tunnel",
            attempts=attempts,
            began=self._fleet.now,
            ended=self._fleet.now,
        )


class FakeInterrupt(Interrupt):
    """Waiting moves the clock of the fleet."""

    def __init__(self, fleet: FakeFleet) -> None:
        super().__init__()
        self._fleet = fleet

    def wait(self, seconds: float) -> None:
        assert seconds > 0
        if not self.cancelled:
            self._fleet.waits.append(seconds)
            self._fleet.now += seconds


class Listener:
    """Keeps the events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)

    def of(self, kind: type[Event]) -> list[Event]:
        return [event for event in self.events if isinstance(event, kind)]


def roll_out(
    opened: OpenRollout, fleet: FakeFleet, emit: object = None, interrupt: Interrupt | None = None
) -> RolloutRecord:
    """Run it to its end."""
    with opened:
        return Rollout(
            opened,
            fleet,
            fleet.plan_again,
            emit=emit or (lambda event: None),
            interrupt=interrupt or FakeInterrupt(fleet),
            clock=lambda: fleet.now,
            timer=lambda: fleet.now,
        ).run()
