"""Random fleets, rollouts of which are killed at writes of their journals, cancelled, and gone on with."""

from __future__ import annotations

import os
import random
import shutil
import tempfile
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from polyarch.events import Event
from polyarch.fleet.journal import read_journal
from polyarch.fleet.outcomes import SUCCEEDED
from polyarch.fleet.record import RolloutRecord, RolloutSettings
from polyarch.fleet.rollout import RETRIED
from polyarch.fleet.rollout_events import (
    DeviceBegun,
    DeviceFinished,
    PlatformStopped,
    RolloutBegun,
    RolloutEnded,
    WaveBegun,
    WaveEnded,
)
from polyarch.fleet.rollout_state import RolloutState
from polyarch.fleet.rollouts import OpenRollout, Rollouts
from polyarch.fleet.stop_rule import parse_max_fail
from polyarch.fleet.waves import parse_batch
from support.fake_fleet import FakeDevice, FakeFleet, FakeInterrupt, roll_out

IN_MEMORY = "/dev/shm" if os.path.isdir("/dev/shm") else None  # noqa: PTH112
"""Journals are synced at every step, some hundred thousand times here."""
PLATFORMS = ("linux/arm/v6", "linux/arm64", "linux/amd64")

_FAULTS = st.sampled_from(["", "", "", "timeout", "internal", "no-space", "check"])
_DEVICES = st.builds(
    FakeDevice,
    name=st.just(""),
    platform=st.sampled_from(PLATFORMS),
    fails=st.lists(_FAULTS, max_size=2),
    always=st.sampled_from([None, None, None, "timeout", "no-engine"]),
    cannot=st.sampled_from([None, None, None, None, "no-variant"]),
    online=st.sampled_from([(0, 1e9)] * 4 + [(0, 0), (30, 1e9), (0, 20), (15, 300)]),
    has_image=st.sampled_from([False, False, False, True]),
)
_SETTINGS = st.builds(
    RolloutSettings,
    batch=st.sampled_from(["100%", "1", "2,50%", "1,10%,100%", "3"]).map(parse_batch),
    max_fail=st.sampled_from(["", "0", "1", "20%", "50%", "100%"]).map(parse_max_fail),
    retries=st.integers(0, 2),
    pause=st.sampled_from([0.0, 7.0]),
    wait_offline=st.sampled_from([0.0, 60.0, 400.0]),
)


@st.composite
def _fleets(draw: st.DrawFn) -> FakeFleet:
    devices = draw(st.lists(_DEVICES, min_size=1, max_size=12))
    for number, device in enumerate(devices):
        device.name = f"pi{number}"
    return FakeFleet(deepcopy(devices), draw(st.integers(1, 5)), random.Random(draw(st.integers(0, 1000))))


class Killed(BaseException):
    """So ends a process: nothing that comes later is done."""


def _killed_at(opened: OpenRollout, write: int, how: str) -> None:
    """Let its process die at that write: before it, in the middle of the line, after it."""
    append, left = opened.append, write

    def killing(event: Event) -> None:
        nonlocal left
        left -= 1
        if left != 0:
            append(event)
            return
        if how == "after":
            append(event)
        elif how == "torn":
            _append_half(opened, event)
        raise Killed

    opened.append = killing  # type: ignore[method-assign]


def _append_half(opened: OpenRollout, event: Event) -> None:
    path = opened._journal._path
    before = path.stat().st_size
    opened._journal.append(event)
    with path.open("r+b") as stream:
        stream.truncate(before + (path.stat().st_size - before) // 2)


def _interrupting(fleet: FakeFleet, cancel: int, end: int) -> tuple[Callable[[Event], None], FakeInterrupt]:
    interrupt, seen = FakeInterrupt(fleet), 0

    def emit(event: Event) -> None:
        nonlocal seen
        seen += 1
        if seen == cancel:
            interrupt.cancel()
        if seen == cancel + end:
            interrupt.end()

    return emit, interrupt


_DEATHS = st.lists(st.tuples(st.integers(1, 60), st.sampled_from(["before", "torn", "after"])), max_size=4)
_CANCELS = st.none() | st.tuples(st.integers(1, 60), st.integers(1, 10))


@settings(max_examples=min(settings().max_examples, 4000))
@given(_fleets(), _SETTINGS, _DEATHS, _CANCELS)
def test_a_rollout_that_is_killed_comes_to_its_end(
    fleet: FakeFleet, asked: RolloutSettings, deaths: list[tuple[int, str]], cancelled: tuple[int, int] | None
) -> None:
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        rollouts = Rollouts(Path(folder))
        opened = rollouts.begin(fleet.plan(), asked)
        for write, how in deaths:
            _killed_at(opened, write, how)
            try:
                record = roll_out(opened, fleet)
            except Killed:
                record = rollouts.record()
                if record.phase == "ended":  # so late
                    break
                opened = rollouts.resume()
            else:
                break
        else:
            emit, interrupt = _interrupting(fleet, *cancelled or (0, 0))
            record = roll_out(opened, fleet, emit, interrupt)
            if record.phase == "cancelled":
                record = roll_out(rollouts.resume(), fleet)
        assert rollouts.record() == record
        _hold(fleet, asked, record, read_journal(Path(folder) / record.id / "journal.jsonl"))


def _hold(fleet: FakeFleet, asked: RolloutSettings, record: RolloutRecord, events: list[Event]) -> None:
    """What always holds at the end of a rollout."""
    assert record.phase == "ended"
    assert list(record.outcomes) == [device.name for device in fleet.devices]
    for device in fleet.devices:
        outcome = record.outcomes[device.name]
        assert device.pulls <= 1
        if outcome.status in SUCCEEDED:
            assert device.has_image
        if outcome.status == "pulled":
            assert device.pulls == 1
        if outcome.reason_code == "stopped":
            assert record.stops
        if device.cannot and outcome.status == "failed":
            assert outcome.reason_code == device.cannot
    _hold_over_time(record, asked, events)


def _hold_over_time(record: RolloutRecord, asked: RolloutSettings, events: list[Event]) -> None:
    state = RolloutState(record.plan, asked)
    stopped: set[str | None] = set()
    wave: WaveBegun | None = None
    for event in events:
        match event:
            case RolloutBegun():
                wave = None  # the one before was killed
            case WaveBegun():
                assert wave is None
                wave = event
            case WaveEnded():
                assert wave is not None
                assert wave.wave == event.wave
                assert not state.in_air
                wave = None
            case DeviceBegun():
                assert wave is not None
                assert event.wave == wave.wave
                assert wave.members[event.device] == event.platform
                assert None not in stopped | state.stops.keys()
                assert event.platform not in stopped | state.stops.keys()
                assert event.device not in state.final
            case DeviceFinished(outcome):
                assert outcome.device not in state.final
                assert "0" * 32 not in (outcome.error or "")
            case PlatformStopped(platform):
                stopped.add(platform)
        state.apply(event)
    assert isinstance(events[-1], RolloutEnded)
    assert wave is None
    assert stopped <= state.stops.keys()
    numbers = [event.wave for event in events if isinstance(event, WaveBegun)]
    if sum(isinstance(event, RolloutBegun) for event in events) == 1:
        assert numbers == sorted(set(numbers))


@settings(max_examples=min(settings().max_examples // 16, 300))
@given(_fleets(), st.sampled_from(["100%", "2", "1,50%"]), st.integers(0, 2))
def test_killed_at_each_write_the_end_is_the_same(fleet: FakeFleet, batch: str, retries: int) -> None:
    """Every state of the folder that there was is gone on with; faults are such that time changes nothing."""
    for device in fleet.devices:
        device.fails = ["timeout"] * min(retries, len(device.fails))
        device.online = (0, 1e9) if device.online[1] > 1000 else (0, 0)
    asked = RolloutSettings(parse_batch(batch), parse_max_fail("100%"), retries)
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        copies: list[tuple[Path, FakeFleet]] = []
        opened = Rollouts(Path(folder) / "whole").begin(fleet.plan(), asked)
        append = opened.append

        def copying(event: Event) -> None:
            for torn in (False, True):
                copies.append((Path(folder) / f"{len(copies)}", deepcopy(fleet)))
                shutil.copytree(Path(folder) / "whole", copies[-1][0])
                if torn:
                    with (copies[-1][0] / opened.id / "journal.jsonl").open("ab") as stream:
                        stream.write(b'{"event": "Dev')
            append(event)

        opened.append = copying  # type: ignore[method-assign]
        whole = roll_out(opened, fleet)
        for place, world in copies:
            again = roll_out(Rollouts(place).resume(), world)
            for name, outcome in whole.outcomes.items():
                found = again.outcomes[name]
                assert (found.status, found.reason_code) == (outcome.status, outcome.reason_code)
                assert world.device(name).pulls == fleet.device(name).pulls
                if outcome.reason_code not in RETRIED and outcome.status != "failed":
                    assert found.images == outcome.images or found.status == "pulled"
            _hold(world, asked, again, read_journal(place / again.id / "journal.jsonl"))


def test_a_device_that_was_under_way_is_tried_again_though_nothing_is_missing(tmp_path: Path) -> None:
    """So that what was left on it goes, and its check is made; and it was this rollout that pulled."""
    fleet = FakeFleet([FakeDevice("pi1"), FakeDevice("pi2")], forks=1)
    rollouts = Rollouts(tmp_path)
    opened = rollouts.begin(fleet.plan(), RolloutSettings())
    _killed_at(opened, 4, "before")  # begun, wave, device begun, its end
    try:
        roll_out(opened, fleet)
    except Killed:
        assert fleet.device("pi1").has_image
    record = roll_out(rollouts.resume(), fleet)
    assert fleet.begun == ["pi1", "pi1", "pi2"]
    assert [one.status for one in record.outcomes.values()] == ["pulled", "pulled"]
    assert record.outcomes["pi1"].images[0].status == "pulled"
    assert [one.pulls for one in fleet.devices] == [1, 1]
    assert record.outcomes["pi1"].attempts == 2


def test_a_wave_that_is_gone_on_with_is_judged_as_a_whole(tmp_path: Path) -> None:
    """One of four failed, not one of the one that was left."""
    fleet = FakeFleet([FakeDevice(f"pi{n}", always="no-space" if n == 3 else None) for n in range(6)], forks=1)
    rollouts = Rollouts(tmp_path)
    opened = rollouts.begin(fleet.plan(), RolloutSettings(parse_batch("4,2"), parse_max_fail("50%")))
    _killed_at(opened, 9, "before")  # begun, wave, a beginning and an end for each of three
    try:
        roll_out(opened, fleet)
    except Killed:
        assert fleet.begun == ["pi0", "pi1", "pi2", "pi3"]
    record = roll_out(rollouts.resume(), fleet)
    assert record.stops == ()
    assert [one.status for one in record.outcomes.values()] == ["pulled"] * 3 + ["failed"] + ["pulled"] * 2
    assert [wave.devices for wave in record.waves] == [("pi0", "pi1", "pi2", "pi3"), ("pi4", "pi5")]


def test_origin_bytes_of_all_processes_count(tmp_path: Path) -> None:
    rollouts, fleet = Rollouts(tmp_path), FakeFleet([FakeDevice("pi1")])
    with rollouts.begin(fleet.plan(), RolloutSettings()) as opened:
        opened.append(RolloutBegun(opened.id, 1, 1, False, 5, 1000))
    with rollouts.resume() as opened:
        assert opened.resumed
        for event in (RolloutBegun(opened.id, 1, 1, True, 10, 10), RolloutEnded(opened.id, False, 12, 30)):
            opened.append(event)
    summary = rollouts.record().summary
    assert (summary.origin_bytes, summary.seconds) == (1030, 2)
