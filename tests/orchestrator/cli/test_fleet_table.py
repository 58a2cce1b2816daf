"""The live table of a rollout: what is counted, and what a terminal is given."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable

import pytest

from polyarch.cli.fleet_table import LiveFleet
from polyarch.cli.fleet_tally import FleetTally
from polyarch.events import Event, Warned
from polyarch.fleet.outcomes import DeviceOutcome, DeviceStatus
from polyarch.fleet.plan_event import FleetPlanned
from polyarch.fleet.reasons import ReasonCode
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
from support.rollouts import Fate, rollout

PLAN = rollout(5, [Fate()], stopped=False).plan  # server-1 of amd64/v3, pi5-1 and pi5-2 of arm64, gate-1, zero-1
BYTES = {device.device: device.missing_bytes for device in PLAN.devices}
PLATFORMS = {device.device: device.platform or "" for device in PLAN.devices}
BEGIN: list[Event] = [FleetPlanned(PLAN), RolloutBegun("id", 5, 2, False, 0)]
ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def finished(
    name: str, status: DeviceStatus = "pulled", code: ReasonCode | None = None, sent: int | None = None, error: str = ""
) -> DeviceFinished:
    sent = BYTES[name] if sent is None else sent
    return DeviceFinished(
        DeviceOutcome(name, PLATFORMS[name], status, bytes=sent, reason_code=code, error=error or None, attempts=1)
    )


def tally(events: Iterable[Event], clock: Clock | None = None) -> FleetTally:
    made = FleetTally(clock or Clock())
    for event in events:
        made.take(event)
    return made


def counts(made: FleetTally) -> dict[str, int]:
    return {state: number for state, number in made.states.items() if number}


def test_devices_go_through_their_states() -> None:
    made = tally(BEGIN)
    assert counts(made) == {"waiting": 5}
    steps: list[tuple[Event, dict[str, int]]] = [
        (WaveBegun(1, {name: PLATFORMS[name] for name in ("pi5-1", "zero-1")}, 0), {"waiting": 5}),
        (DeviceBegun("pi5-1", "linux/arm64", 1, 0), {"waiting": 4, "pulling": 1}),
        (DeviceBegun("zero-1", "linux/arm/v6", 1, 0), {"waiting": 3, "pulling": 2}),
        (finished("pi5-1"), {"waiting": 3, "pulling": 1, "done": 1}),
        (DeviceTried(finished("zero-1", "failed", "timeout", 7).outcome), {"waiting": 4, "done": 1}),
        (DeviceBegun("zero-1", "linux/arm/v6", 1, 0), {"waiting": 3, "pulling": 1, "done": 1}),
        (DeviceTried(finished("zero-1", "offline", "offline", 7).outcome), {"waiting": 3, "offline": 1, "done": 1}),
        (finished("zero-1", "failed", "timeout", 7), {"waiting": 3, "failed": 1, "done": 1}),
        (finished("gate-1", "up-to-date", sent=0), {"waiting": 2, "failed": 1, "done": 1, "up-to-date": 1}),
        (
            finished("pi5-2", "skipped", "stopped", 0),
            {"waiting": 1, "failed": 1, "done": 1, "up-to-date": 1, "skipped": 1},
        ),
    ]
    for event, expected in steps:
        made.take(event)
        assert counts(made) == expected, event
    assert made.finished == 4
    assert made.platforms["linux/arm64"].bytes == BYTES["pi5-1"]
    assert made.platforms["linux/arm/v6"].bytes == 7
    assert made.bytes == BYTES["pi5-1"] + 7
    assert made.expected == made.bytes + BYTES["server-1"]  # the only one that is left


def test_a_resumed_rollout_has_its_devices_done() -> None:
    done = finished("pi5-1").outcome
    made = tally([FleetPlanned(PLAN, {"pi5-1": done}), RolloutBegun("id", 5, 2, True, 0)])
    assert counts(made) == {"waiting": 4, "done": 1}
    assert made.rate == 0  # what went there before says nothing of now


def test_without_a_plan_devices_are_known_as_they_come() -> None:
    made = tally([RolloutBegun("id", 5, 1, False, 0), WaveBegun(1, PLATFORMS, 0), finished("pi5-1")])
    assert counts(made) == {"waiting": 4, "done": 1}
    assert (made.total, made.seconds_left) == (5, None)


def test_rate_and_time_left() -> None:
    clock = Clock()
    made = tally(BEGIN, clock)
    total = sum(BYTES.values())
    assert made.seconds_left is None
    made.take(DeviceBegun("pi5-1", "linux/arm64", 1, 0))
    for second in range(1, 41):
        clock.now += 1
        made.take(DeviceSent("pi5-1", 100_000 * min(second, 20)))
    # The last 15 seconds have none.
    assert made.rate == 0
    assert made.seconds_left is None
    clock.now += 1
    made.take(DeviceSent("pi5-1", 3_600_000))
    assert made.rate == pytest.approx(1_600_000 / 15)
    assert made.seconds_left == pytest.approx((total - 3_600_000) / made.rate)
    assert made.expected == total


def test_more_bytes_than_planned_are_no_debt() -> None:
    made = tally([*BEGIN, DeviceSent("pi5-1", BYTES["pi5-1"] + 500)])
    assert made.expected == sum(BYTES.values()) + 500
    made.take(finished("pi5-1", sent=BYTES["pi5-1"] + 500))
    assert made.expected == sum(BYTES.values()) + 500


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> _Terminal:
    monkeypatch.setenv("TERM", "xterm-256color")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    return _Terminal()


HAPPENED: list[Event] = [
    *BEGIN,
    WaveBegun(1, {"pi5-1": "linux/arm64", "zero-1": "linux/arm/v6"}, 0),
    DeviceBegun("pi5-1", "linux/arm64", 1, 0),
    finished("pi5-1"),
    Warned("the clock of zero-1 is an hour behind"),
    finished("zero-1", "failed", "integrity", 7, "another \x1b[2Jconfig [bold]than[/bold] planned"),
    PlatformStopped("linux/arm/v6", "all failed", 0),
    WaveBegun(2, {"pi5-2": "linux/arm64"}, 0),
    finished("gate-1", "up-to-date", sent=0),
    finished("server-1", "skipped", "stopped", 0, "left alone"),
    Pausing(30, "pause"),
]


def shown(terminal: _Terminal, width: int, monkeypatch: pytest.MonkeyPatch, events: Iterable[Event] = HAPPENED) -> str:
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("COLUMNS", str(width))
    live = LiveFleet()
    for event in events:
        live.handle(event)
    live.close()
    return terminal.getvalue()


@pytest.mark.parametrize("width", [50, 80, 120])
def test_what_a_terminal_shows(terminal: _Terminal, monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    text = shown(terminal, width, monkeypatch)
    lines = [line.rstrip() for line in re.split(r"[\r\n]+", ESCAPES.sub("", text))]
    assert max(map(len, lines)) <= width
    flat = " ".join(" ".join(lines).split())
    assert flat.count("zero-1 linux/arm/v6 failed integrity: another \\x1b[2Jconfig [bold]than[/bold] planned") == 1
    assert flat.count("stopped: linux/arm/v6: all failed") == 1
    assert flat.count("warning: the clock of zero-1 is an hour behind") == 1
    assert "left alone" not in flat
    table = [line.split() for line in lines if line][-6:]
    assert table[-1][:7] == ["wave", "2", "of", "2", "4", "of", "5"]
    if width == 120:
        assert [" ".join(row) for row in table[:-1]] == [
            "platform waiting pulling done up-to-date failed offline skipped bytes",
            "linux/amd64/v3 - - - - - - 1 -",
            "linux/arm/v6 ■ - - - - 1 - - 7B",
            "linux/arm/v7 - - - 1 - - - -",
            "linux/arm64 1 - 1 - - - - 72.6MB",
        ]
    assert text.count("\x1b[?25h") >= text.count("\x1b[?25l") > 0


def test_no_color(terminal: _Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    assert re.search(r"\x1b\[[0-9;]*3[0-9]m", shown(terminal, 80, monkeypatch))
    terminal.truncate(0)
    terminal.seek(0)
    monkeypatch.setenv("NO_COLOR", "1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", shown(terminal, 80, monkeypatch))


def test_a_rollout_that_was_ended_says_how_to_go_on(terminal: _Terminal, monkeypatch: pytest.MonkeyPatch) -> None:
    text = shown(terminal, 120, monkeypatch, [*BEGIN, RolloutEnded("id", True, 0)])
    assert "polyarch fleet pull --resume" in text
