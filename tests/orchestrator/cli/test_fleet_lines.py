"""What is said of a fleet, line by line."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from polyarch.cli.fleet_lines import brief, event_line, facts_table, outcome_line, plan_table, status_table
from polyarch.events import BlobDone, Event
from polyarch.fleet.outcomes import DeviceOutcome
from polyarch.fleet.plan_event import FleetPlanned
from polyarch.fleet.planned import DevicePlan, Plan
from polyarch.fleet.reasons import FactsFault
from polyarch.fleet.rollout_events import (
    DeviceBegun,
    DeviceFinished,
    DeviceSent,
    DeviceTried,
    Pausing,
    PlatformStopped,
    RolloutBegun,
    RolloutEnded,
    WaveBegun,
)
from polyarch.verbs.fleet.status import DeviceState, ImageState
from support.fleet_plans import facts
from support.rollouts import digest, rollout

PULLED = DeviceOutcome("pi-7", "linux/arm/v6", "pulled", bytes=12_300_000, seconds=4.21, attempts=1)
FULL = replace(PULLED, status="failed", reason_code="no-space", error="the disk is full")


@pytest.mark.parametrize(
    ("outcome", "line"),
    [
        (PULLED, "pi-7  linux/arm/v6  pulled  12.3MB  4.2s"),
        (replace(PULLED, attempts=3), "pi-7  linux/arm/v6  pulled  12.3MB  4.2s  3 attempts"),
        (replace(PULLED, status="up-to-date", bytes=0), "pi-7  linux/arm/v6  up-to-date"),
        (FULL, "pi-7  linux/arm/v6  failed  no-space: the disk is full"),
        (replace(FULL, error=None), "pi-7  linux/arm/v6  failed  no-space"),
        (
            replace(FULL, status="offline", reason_code="offline", platform=None, error="no route"),
            "pi-7  unknown  offline  no route",
        ),
        (replace(FULL, status="skipped", reason_code="stopped", error=None), "pi-7  linux/arm/v6  skipped  stopped"),
    ],
    ids=["pulled", "attempts", "up-to-date", "failed", "no-words", "offline", "skipped"],
)
def test_a_device_is_a_line(outcome: DeviceOutcome, line: str) -> None:
    assert outcome_line(outcome) == line
    assert event_line(DeviceFinished(outcome)) == line


@pytest.mark.parametrize(
    ("event", "line"),
    [
        (RolloutBegun("20251009-085320", 48, 3, False, 0), "rollout 20251009-085320 begins: 48 devices, 3 waves"),
        (RolloutBegun("20251009-085320", 1, 1, True, 0), "rollout 20251009-085320 goes on: 1 device, 1 wave"),
        (WaveBegun(2, {"a": "linux/amd64", "b": "linux/amd64"}, 0), "wave 2: 2 devices"),
        (DeviceTried(FULL), "pi-7  linux/arm/v6  again  no-space: the disk is full"),
        (PlatformStopped("linux/arm/v6", "2 of 3 failed", 0), "stopped: linux/arm/v6: 2 of 3 failed"),
        (PlatformStopped(None, "2 of 3 failed", 0), "stopped: all platforms: 2 of 3 failed"),
        (Pausing(90, "pause"), "the next wave begins in 1m30s"),
        (Pausing(2, "retry"), "trying again in 2.0s"),
        (
            RolloutEnded("20251009-085320", True, 0),
            "rollout 20251009-085320 was ended from here; it can be gone on with: polyarch fleet pull --resume",
        ),
        (RolloutEnded("20251009-085320", False, 0), None),
        (DeviceBegun("a", "linux/amd64", 1, 0), None),
        (DeviceSent("a", 9), None),
        (BlobDone(digest("x"), 1, "downloaded"), None),
        (FleetPlanned(rollout(10).plan), "10 devices: 10 will pull; 271MB from the origin, 719MB to devices"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Event) else "",
)
def test_what_happens_is_a_line(event: Event, line: str | None) -> None:
    assert event_line(event) == line


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0s"), (4.21, "4.2s"), (59.94, "59.9s"), (59.96, "1m"), (130, "2m10s"), (3600, "1h"), (11_110, "3h5m")],
    ids=str,
)
def test_durations(seconds: float, text: str) -> None:
    assert brief(seconds) == text


def made(count: int, change: Callable[[int, DevicePlan], DevicePlan] = lambda i, device: device) -> Plan:
    plan = rollout(count).plan
    return Plan(tuple(change(i, device) for i, device in enumerate(plan.devices)), plan.summary)


def test_a_small_plan_has_a_line_a_device() -> None:
    def change(i: int, device: DevicePlan) -> DevicePlan:
        if i == 1:
            device = replace(device, verdict="cannot", reason="connect: no route", reason_code="offline", images=())
            return replace(device, platform=None, match=None, engine=None, disk_free=None)
        if i == 0:
            return replace(device, reason="a:1 is missing; without b:1: no variant", reason_code="no-variant")
        return replace(device, override="linux/arm/v6", images=device.images[:1]) if i == 2 else device

    plan = made(3, change)
    first, *rows, last = (" ".join(line.split()) for line in plan_table(plan))
    short = (plan.devices[2].images[0].manifest or "")[7:19]
    assert first == "DEVICE PLATFORM VARIANT MATCH ENGINE MISSING FREE VERDICT REASON"
    assert rows == [
        "server-1 linux/amd64/v3 linux/amd64 x2 compatible docker 76.8MB 9.3GB will-pull "
        "a:1 is missing; without b:1: no variant",
        "pi5-1 unknown - - - - - cannot connect: no route",
        f"pi5-2 linux/arm64 (as linux/arm/v6) linux/arm64 {short} exact containerd 58.1MB 9.3GB will-pull",
    ]
    assert last == "3 devices: 2 will pull, 1 cannot; 149MB from the origin, 222MB to devices"


@pytest.mark.parametrize("width", [80, 120, None])
def test_a_plan_fits(width: int | None) -> None:
    lines = list(plan_table(made(50), width))
    assert width is None or max(map(len, lines)) <= width
    assert "" not in lines
    # Why a variant is not the obvious one is said, below the device where there is no room.
    assert sum("no variant runs natively; linux/amd64 runs by qemu-x86_64" in line for line in lines) == 6
    assert sum("will-pull" in line for line in lines) + sum("  ready" in line for line in lines) == 50


def test_a_large_plan_is_folded() -> None:
    def change(i: int, device: DevicePlan) -> DevicePlan:
        no_space = {"verdict": "cannot", "reason": "the disk is full", "reason_code": "no-space"}
        return replace(device, **no_space) if device.device.startswith("gate") else device  # type: ignore[arg-type]

    lines = list(plan_table(made(800, change), 120))
    assert [line.split() for line in lines[:2]] == [
        ["PLATFORM", "DEVICES", "READY", "WILL-PULL", "CANNOT", "MISSING"],
        ["linux/amd64/v3", "200", "50", "150", "-", "11.5GB"],
    ]
    (folded,) = (line for line in lines if "the disk is full" in line and "containerd" not in line)
    assert folded.split()[:6] == ["gate-1,", "gate-2,", "gate-3", "and", "97", "more"]
    assert lines[-1].startswith("800 devices: 100 ready, 600 will pull, 100 cannot; ")
    assert len(lines) < 16


RIGHT, WRONG = digest("right"), digest("wrong")
CHANGED = ImageState("docker.io/library/app:1", "changed", WRONG, RIGHT, "linux/arm64")
PLANNED = replace(CHANGED, state="as-planned", has=RIGHT)


def state(number: int, *images: ImageState, fault: FactsFault | None = None) -> DeviceState:
    known = facts("pi-3", name=f"pi-{number}")
    return DeviceState(known.name, known, known.engine(), 10.0 * number, fault, images)


def test_the_status_of_a_small_fleet() -> None:
    fault = FactsFault("pi-3", "offline", "no route")
    nothing = ImageState("docker.io/library/app:1", "unknown", reason=fault.reason)
    states = [
        state(1, PLANNED, replace(CHANGED, reference="docker.io/library/b:2")),
        state(2, replace(CHANGED, state="missing", has=None)),
        state(3, PLANNED, fault=fault),
        DeviceState("pi-4", None, None, None, fault, (nothing,)),
        state(5),
    ]
    first, *rows, last = (" ".join(line.split()) for line in status_table(states))
    right, wrong = RIGHT[7:19], WRONG[7:19]
    assert first == "DEVICE PLATFORM ENGINE IMAGE HAS SHOULD AGE STATE"
    assert rows == [
        f"pi-1 linux/arm64 docker app:1 {right} {right} 10.0s as planned",
        f"pi-1 linux/arm64 docker b:2 {wrong} {right} 10.0s changed",
        f"pi-2 linux/arm64 docker app:1 - {right} 20.0s missing",
        f"pi-3 linux/arm64 docker app:1 {right} {right} 30.0s as planned; offline: no route",
        "pi-4 unknown - app:1 - - - unknown; offline: no route",
        "pi-5 linux/arm64 docker - - - 50.0s no image is asked for",
    ]
    assert last == "1 of 5 devices as planned"


def test_what_devices_are() -> None:
    known = state(1)
    assert known.facts
    assert known.engine
    engine = replace(known.engine, version="24.0.7", free=3_000_000_000)
    odd = replace(known, facts=replace(known.facts, forwarding=False, clock_skew=-90), engine=engine)
    fault = FactsFault("pi-4", "offline", "no route")
    lines = [" ".join(line.split()) for line in facts_table([odd, DeviceState("pi-4", None, None, None, fault, ())])]
    count = len(engine.images)
    assert lines == [
        "DEVICE PLATFORM PAGES ENGINE IMAGES FREE FORWARDING CLOCK ASKED",
        f"pi-1 linux/arm64 4K docker 24.0.7 {count} 3GB no -90s 10.0s ago",
        "pi-4 unknown - - - - - - never",
        "",
    ]
    right = replace(odd, facts=replace(known.facts, forwarding=True, clock_skew=0))
    assert " ".join(list(facts_table([right]))[1].split()[-4:]) == "yes right 10.0s ago"
    assert list(facts_table([odd] * 51)) == []


def test_devices_that_are_alike_keep_their_lines_and_their_order() -> None:
    states = [replace(state(1, PLANNED), device=name) for name in ("a", "b", "c")]
    states.insert(1, state(9, CHANGED))
    assert [line.split()[0] for line in status_table(states)] == ["DEVICE", "a", "pi-9", "b", "c", "3"]


def test_the_status_of_a_large_fleet_is_what_is_not_as_planned() -> None:
    lines = list(status_table([state(i, PLANNED if i % 3 else CHANGED) for i in range(90)], 100))
    assert len(lines) == 4
    assert lines[1].startswith("pi-0, pi-3, pi-6 and 27 more   linux/arm64")
    assert lines[1].endswith("changed")
    assert lines[-1] == "60 of 90 devices as planned"
    assert max(map(len, lines)) <= 100


def test_a_large_fleet_where_all_is_as_planned() -> None:
    assert list(status_table([state(i, PLANNED) for i in range(90)], 100)) == [
        "A line for each device: --format json",
        "90 of 90 devices as planned",
    ]
