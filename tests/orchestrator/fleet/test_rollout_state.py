"""Where a rollout stands after some events."""

from __future__ import annotations

from polyarch.fleet.outcomes import DeviceOutcome, DeviceStatus
from polyarch.fleet.reasons import ReasonCode
from polyarch.fleet.record import RolloutSettings
from polyarch.fleet.rollout_events import (
    DeviceBegun,
    DeviceFinished,
    DeviceTried,
    RolloutBegun,
    WaveBegun,
    WaveEnded,
)
from polyarch.fleet.rollout_state import RolloutState
from polyarch.fleet.stop_rule import parse_max_fail
from support.fake_fleet import FakeDevice, FakeFleet

V6, ARM64, AMD64 = "linux/arm/v6", "linux/arm64", "linux/amd64"
PLATFORMS = {"a": V6, "b": V6, "c": V6, "d": ARM64, "e": ARM64, "f": AMD64}


class State(RolloutState):
    """Of a rollout that has begun; `gone` was offline when it was planned."""

    def __init__(self, max_fail: str = "") -> None:
        fleet = FakeFleet([FakeDevice(name, platform) for name, platform in PLATFORMS.items()])
        fleet.devices = [*fleet.devices, FakeDevice("gone", V6, online=(5, 6))]
        super().__init__(fleet.plan(), RolloutSettings(max_fail=parse_max_fail(max_fail)))
        self.apply(RolloutBegun("id", 7, 1, False, 1))

    def wave(self, number: int, *names: str) -> None:
        self.apply(WaveBegun(number, {name: PLATFORMS.get(name, V6) for name in names}, 1))

    def ends(self, *names: str, status: DeviceStatus = "failed", wave: int = 1) -> list[str | None]:
        """What is stopped by it."""
        code: ReasonCode = "offline" if status == "offline" else "no-space"
        kind = DeviceTried if status == "offline" else DeviceFinished
        stops: list[str | None] = []
        for name in names:
            if wave:
                self.apply(DeviceBegun(name, PLATFORMS.get(name, V6), wave, 1))
            outcome = DeviceOutcome(name, None, status, reason_code=code, wave=wave, attempts=1)
            stops += [stop.platform for stop in self.apply(kind(outcome))]
        return stops


def test_what_no_wave_came_to_does_not_count() -> None:
    state = State("0")
    assert state.ends("a", wave=0) == []
    state.wave(1, "b", "d")
    assert state.ends("d", status="pulled") == []
    assert state.ends("b") == [V6]


def test_a_device_that_is_offline_last_leaves_those_that_failed() -> None:
    state = State()
    state.wave(1, "a", "b", "d")
    assert state.ends("d", status="pulled") == []
    assert state.ends("a") == []
    assert state.ends("b", status="offline") == [V6]


def test_a_platform_that_was_unknown_counts_as_what_it_is() -> None:
    state = State("0")
    state.wave(1, "gone", "d")
    assert state.ends("gone") == [V6]
    assert state.stopped("a")


def test_a_device_that_comes_back_is_not_offline() -> None:
    state = State()
    state.ends("gone", status="offline", wave=0)
    assert state.offline == {"gone"}
    state.wave(1, "gone", "a")
    assert state.offline == set()


def test_a_wave_that_is_gone_on_with_has_what_failed_before() -> None:
    state = State()
    state.wave(1, "a", "d")
    assert state.ends("a") == [V6]
    state.apply(RolloutBegun("id", 7, 1, True, 5))
    assert set(state.final) == {"a"}
    state.wave(1, "a", "d")
    assert state.ends("d") == [ARM64, None]


def test_what_does_not_succeed_is_to_be_done_again_unless_it_is_stopped() -> None:
    state = State("1")
    state.wave(1, "a", "b", "d", "e")
    assert state.ends("a", "b") == [V6]
    state.ends("d", status="pulled")
    assert state.ends("e") == []
    assert state.final.keys() == {"a", "b", "d", "e"}
    assert state.staying().keys() == {"a", "b", "d"}
    state.apply(RolloutBegun("id", 7, 1, True, 5))
    assert set(state.final) == {"a", "b", "d"}
    assert state.begun == {"a", "b", "d", "e"}
    assert state.stops.keys() == {V6}


def test_attempts_are_added_also_those_that_were_cut() -> None:
    state = State()
    state.wave(1, "a")
    state.apply(DeviceBegun("a", V6, 1, 10))
    state.apply(RolloutBegun("id", 7, 1, True, 20))
    state.wave(1, "a")
    state.apply(DeviceBegun("a", V6, 1, 30))
    tried = DeviceOutcome("a", V6, "failed", bytes=5, seconds=2, attempts=1, began=30, ended=32)
    state.apply(DeviceTried(state.total(tried)))
    assert state.sent("a") == 5
    total = state.total(DeviceOutcome("a", V6, "pulled", bytes=7, seconds=3, attempts=1, began=40, ended=43))
    assert (total.attempts, total.bytes, total.seconds, total.began, total.ended) == (3, 12, 5, 30, 43)


def test_the_record_of_waves_and_times() -> None:
    state = State()
    state.wave(1, "a", "d")
    state.ends("a", "d", status="pulled")
    state.apply(WaveEnded(1, 4))
    state.apply(WaveBegun(2, {"e": ARM64}, 6))
    state.apply(RolloutBegun("id", 7, 1, True, 100))
    state.apply(WaveBegun(2, {"e": ARM64, "gone": V6}, 101))
    state.apply(WaveEnded(2, 109))
    record = state.record("id", running=False, command={})
    assert [(wave.devices, wave.began, wave.ended) for wave in record.waves] == [
        (("a", "d"), 1, 4),
        (("e", "gone"), 6, 109),
    ]
    assert (record.phase, record.began, record.ended) == ("broken-off", 1, 0)
    assert record.summary.seconds == 5 + 9
    assert state.record("id", running=True, command={}).phase == "running"
