"""Rollouts, with a fleet in memory: waves, retries, stops, devices that are offline, Ctrl-C."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from polyarch.errors import PolyarchError, UnreachableError
from polyarch.events import Event, Warned
from polyarch.fleet.reasons import ReasonCode
from polyarch.fleet.record import RolloutRecord, RolloutSettings
from polyarch.fleet.rollout_events import (
    DeviceBegun,
    DeviceFinished,
    DeviceSent,
    DeviceTried,
    Pausing,
    PlatformStopped,
    RolloutBegun,
    RolloutEnded,
    WaitingForOffline,
    WaveBegun,
)
from polyarch.fleet.rollout_failure import failure_of
from polyarch.fleet.rollouts import Rollouts
from polyarch.fleet.stop_rule import parse_max_fail
from polyarch.fleet.waves import parse_batch
from support.fake_fleet import IMAGE_BYTES, FakeDevice, FakeFleet, FakeInterrupt, Listener, roll_out

V6, ARM64, AMD64 = "linux/arm/v6", "linux/arm64", "linux/amd64"


class Ran:
    """A rollout of these devices that was run to its end."""

    def __init__(self, folder: Path, *devices: FakeDevice, **settings: Any) -> None:
        self.rollouts = Rollouts(folder / "rollouts")
        self.fleet = FakeFleet(devices)
        self.listener = Listener()
        self.settings = _settings(**settings)

    def run(self, emit: Callable[[Event], None] | None = None, interrupt: FakeInterrupt | None = None) -> RolloutRecord:
        def both(event: Event) -> None:
            self.listener(event)
            if emit is not None:
                emit(event)

        opened = self.rollouts.begin(self.fleet.plan(), self.settings)
        self.record = roll_out(opened, self.fleet, both, interrupt)
        return self.record

    @property
    def statuses(self) -> dict[str, str]:
        return {name: one.status for name, one in self.record.outcomes.items()}


def _settings(batch: str = "100%", max_fail: str = "", **settings: Any) -> RolloutSettings:
    return RolloutSettings(parse_batch(batch), parse_max_fail(max_fail), **settings)


def test_each_device_gets_its_images_and_is_told_of_once(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path,
        *(FakeDevice(f"pi{number}") for number in range(5)),
        FakeDevice("done", has_image=True),
        FakeDevice("none", cannot="no-variant"),
        FakeDevice("gone", online=(5000, 6000)),
        batch="2",
    )
    record = ran.run()
    assert ran.statuses == {
        **{f"pi{number}": "pulled" for number in range(5)},
        "done": "up-to-date",
        "none": "failed",
        "gone": "offline",
    }
    finished = [event.outcome for event in ran.listener.of(DeviceFinished)]
    assert sorted(one.device for one in finished) == sorted(ran.statuses)
    assert {one.device: one.wave for one in finished} == {
        "pi0": 1, "pi1": 1, "pi2": 2, "pi3": 2, "pi4": 3, "done": 0, "none": 0, "gone": 0
    }  # fmt: skip
    assert [wave.devices for wave in record.waves] == [("pi0", "pi1"), ("pi2", "pi3"), ("pi4",)]
    assert record.summary.statuses == {"pulled": 5, "up-to-date": 1, "failed": 1, "skipped": 0, "offline": 1}
    assert record.summary.platforms["unknown"]["offline"] == 1
    assert record.summary.reason_codes == {"no-variant": 1, "offline": 1}
    assert record.summary.bytes == 5 * IMAGE_BYTES
    assert record.phase == "ended"
    assert ran.listener.events[0] == RolloutBegun(record.id, 8, 3, False, ran.fleet.now, 0)
    assert ran.listener.events[-1] == RolloutEnded(record.id, False, ran.fleet.now, 0)
    assert ran.fleet.planned == []  # nothing is asked twice without need
    assert ran.rollouts.record() == record


def test_a_second_rollout_changes_nothing(tmp_path: Path) -> None:
    ran = Ran(tmp_path, FakeDevice("pi1"), FakeDevice("pi2"))
    ran.run()
    begun = [*ran.fleet.begun]
    ran.run()
    assert ran.statuses == {"pi1": "up-to-date", "pi2": "up-to-date"}
    assert ran.fleet.begun == begun
    assert ran.record.waves == ()


def test_what_may_pass_is_tried_again_and_all_attempts_are_counted(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path,
        FakeDevice("pi1", fails=("timeout", "unreachable")),
        FakeDevice("pi2", fails=("no-space",)),
        FakeDevice("pi3", always="integrity"),
        FakeDevice("pi4"),
        retries=2,
    )
    record = ran.run()
    assert ran.statuses == {"pi1": "pulled", "pi2": "failed", "pi3": "failed", "pi4": "pulled"}
    attempts = {name: (one.attempts, one.seconds) for name, one in record.outcomes.items()}
    assert attempts == {"pi1": (3, 3), "pi2": (1, 1), "pi3": (3, 3), "pi4": (1, 1)}
    assert ran.fleet.planned == [("pi1", "pi3")] * 2 or sorted(ran.fleet.planned[0]) == ["pi1", "pi3"]
    assert ran.fleet.waits == [2, 4]
    assert [event.outcome.reason_code for event in ran.listener.of(DeviceTried) if event.outcome.device == "pi1"] == [
        "timeout",
        "unreachable",
    ]
    assert "polyarch/…" in (record.outcomes["pi3"].error or "")
    assert len(record.waves) == 1


def test_an_image_that_an_earlier_attempt_brought_was_pulled(tmp_path: Path) -> None:
    """The device is not planned out of its second attempt, either: its check and its cleaning are still to be done."""
    device = FakeDevice("pi1", fails=("timeout",))
    ran = Ran(tmp_path, device, retries=1)

    def bring(event: Event) -> None:
        if isinstance(event, DeviceTried):
            device.has_image = True

    record = ran.run(bring)
    assert record.outcomes["pi1"].status == record.outcomes["pi1"].images[0].status == "pulled"
    assert device.attempts == 2


def test_bytes_of_earlier_attempts_are_added(tmp_path: Path) -> None:
    ran = Ran(tmp_path, FakeDevice("pi1", fails=("timeout",)), retries=1)
    ran.run()
    assert [event.bytes for event in ran.listener.of(DeviceSent)] == [IMAGE_BYTES] * 2  # the first was told of none


@pytest.mark.parametrize("max_fail", ["", "0", "20%", "1"])
def test_a_platform_that_fails_is_stopped_and_the_others_go_on(tmp_path: Path, max_fail: str) -> None:
    fleet = [FakeDevice(f"v6-{n}", V6, always="no-engine") for n in range(6)]
    fleet += [FakeDevice(f"arm64-{n}", ARM64) for n in range(6)]
    ran = Ran(tmp_path, *fleet, batch="4,100%", max_fail=max_fail)
    record = ran.run()
    first = record.waves[0].devices
    assert len(first) == 4
    assert {name for name in ran.fleet.begun if name.startswith("v6")} <= set(first)
    assert [one.status for one in record.outcomes.values() if one.platform == ARM64] == ["pulled"] * 6
    rest = [one for one in record.outcomes.values() if one.platform == V6 and one.device not in first]
    assert {(one.status, one.reason_code) for one in rest} == {("skipped", "stopped")}
    assert all(one.error and one.error.startswith("linux/arm/v6 was stopped: ") for one in rest)
    assert [stop.platform for stop in record.stops] == [V6]
    assert [event.platform for event in ran.listener.of(PlatformStopped)] == [V6]
    error = failure_of(record)
    assert error is not None
    assert error.exit_code == 10
    assert ran.rollouts.devices("failed") == tuple(
        one.device for one in record.outcomes.values() if one.status == "failed"
    )


def test_a_percentage_strikes_while_the_wave_runs(tmp_path: Path) -> None:
    fleet = [FakeDevice(f"v6-{n}", V6, always="no-engine") for n in range(40)]
    fleet += [FakeDevice(f"arm64-{n}", ARM64) for n in range(40)]
    ran = Ran(tmp_path, *fleet, max_fail="10%")
    record = ran.run()
    tried = [name for name in ran.fleet.begun if name.startswith("v6")]
    assert 5 <= len(tried) <= 5 + ran.fleet.forks - 1  # those that were under way ended
    assert [record.outcomes[name].status for name in tried] == ["failed"] * len(tried)
    assert record.summary.platforms[V6]["skipped"] == 40 - len(tried)
    assert record.summary.platforms[ARM64]["pulled"] == 40


def test_a_wave_that_fails_wholly_stops_all(tmp_path: Path) -> None:
    fleet = [FakeDevice(f"{platform}-{n}", platform, always="no-space") for n in range(3) for platform in (V6, ARM64)]
    ran = Ran(tmp_path, *fleet, FakeDevice("gone", online=(10, 20)), batch="2", wait_offline=100)
    record = ran.run()
    assert len(ran.fleet.begun) == 2
    assert record.stops[-1].platform is None
    assert len(record.waves) == 1
    assert record.outcomes["gone"].status == "offline"
    error = failure_of(record)
    assert error is not None
    assert error.exit_code == 10  # one of them is offline


def test_nothing_is_stopped_where_nothing_is_left(tmp_path: Path) -> None:
    ran = Ran(tmp_path, FakeDevice("v6", V6, always="no-space"), FakeDevice("arm64", ARM64))
    assert ran.run().stops == ()


def test_a_retry_is_no_failure_yet_and_ends_with_its_platform(tmp_path: Path) -> None:
    fleet = [FakeDevice("v6-slow", V6, fails=("timeout",)), FakeDevice("v6-full", V6, always="no-space")]
    ran = Ran(tmp_path, *fleet, FakeDevice("v6-next", V6), FakeDevice("arm64"), batch="3,1", max_fail="0", retries=3)
    record = ran.run()
    assert {name: ran.fleet.device(name).attempts for name in ("v6-slow", "v6-full")} == {"v6-slow": 1, "v6-full": 1}
    assert record.outcomes["v6-slow"].reason_code == "timeout"
    assert record.outcomes["v6-next"].reason_code == "stopped"
    assert record.outcomes["arm64"].status == "pulled"


def test_a_device_whose_retry_is_skipped_has_failed(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path,
        FakeDevice("first", fails=("timeout", "no-space")),
        FakeDevice("second", fails=("timeout",)),
        retries=1,
        max_fail="0",
    )
    ran.fleet.forks = 1
    record = ran.run()
    assert [(one.status, one.reason_code, one.attempts) for one in record.outcomes.values()] == [
        ("failed", "no-space", 2),
        ("failed", "timeout", 1),
    ]


def test_there_is_a_pause_between_waves_alone(tmp_path: Path) -> None:
    ran = Ran(tmp_path, *(FakeDevice(f"pi{n}") for n in range(3)), batch="1", pause=30)
    ran.run()
    assert ran.fleet.waits == [30, 30]
    assert ran.listener.of(Pausing) == [Pausing(30, "pause")] * 2


def test_offline_devices_are_waited_for(tmp_path: Path) -> None:
    ran = Ran(
        tmp_path,
        FakeDevice("soon", V6, online=(45, 1e9)),
        FakeDevice("late", V6, online=(300, 1e9)),
        FakeDevice("never", online=(7201, 1e9)),
        FakeDevice("here"),
        wait_offline=7200,
    )
    record = ran.run()
    assert ran.statuses == {"soon": "pulled", "late": "pulled", "never": "offline", "here": "pulled"}
    assert [wave.devices for wave in record.waves] == [("here",), ("soon",), ("late",)]
    assert record.outcomes["soon"].platform == V6
    assert ran.fleet.waits[:5] == [10, 20, 40, 80, 160]
    assert max(ran.fleet.waits) == 300
    assert sum(ran.fleet.waits) == 7200
    assert [event.outcome.device for event in ran.listener.of(DeviceTried)] == ["soon", "late", "never"]
    waiting = ran.listener.of(WaitingForOffline)
    assert {event.until for event in waiting} == {1_007_200}
    assert [event.devices for event in waiting][:5] == [3, 3, 3, 2, 2]
    error = failure_of(record)
    assert error is not None
    assert error.exit_code == 10
    assert ran.rollouts.devices("offline") == ("never",)


def test_devices_that_come_back_join_the_next_wave(tmp_path: Path) -> None:
    """One was offline before, one in its wave; without --wait-offline neither is asked again."""

    def devices() -> list[FakeDevice]:
        back = FakeDevice("pi2", online=(0, 0))
        return [FakeDevice("pi1"), back, FakeDevice("pi3"), FakeDevice("pi4"), FakeDevice("gone", online=(5, 1e9))]

    for wait, waves in ((60, ["pi1 pi2", "pi3 pi4 gone pi2"]), (0, ["pi1 pi2", "pi3 pi4"])):
        ran = Ran(tmp_path, *devices(), batch="2", pause=10, wait_offline=wait)
        plan, back = ran.fleet.plan(), ran.fleet.device("pi2")
        back.online = (0, 1e9)
        opened = ran.rollouts.begin(ran.fleet.plan(), ran.settings)
        back.online = (5, 1e9)
        assert plan.devices[1].verdict == "cannot"
        record = roll_out(opened, ran.fleet, ran.listener)
        assert [" ".join(event.members) for event in ran.listener.of(WaveBegun)] == [
            waves[0],
            " ".join(sorted(waves[1].split(), key=[*ran.listener.of(WaveBegun)[1].members].index)),
        ]
        assert {len(wave.devices) for wave in record.waves} == {2, len(waves[1].split())}
        assert record.outcomes["pi2"].status == ("pulled" if wait else "offline")
        assert record.outcomes["pi2"].attempts == (2 if wait else 1)


def test_a_platform_that_was_unknown_may_be_stopped_by_then(tmp_path: Path) -> None:
    fleet = [FakeDevice(f"v6-{n}", V6, always="no-engine") for n in range(2)]
    gone = FakeDevice("v6-gone", V6, online=(50, 1e9))
    ran = Ran(tmp_path, *fleet, FakeDevice("arm64"), gone, batch="2,1", wait_offline=100)
    record = ran.run()
    assert gone.attempts == 0
    assert (record.outcomes["v6-gone"].status, record.outcomes["v6-gone"].reason_code) == ("skipped", "stopped")


def test_a_plan_that_cannot_be_made_again_leaves_what_was(tmp_path: Path) -> None:
    ran = Ran(tmp_path, FakeDevice("pi1", fails=("timeout",)), retries=3)

    def refuse(names: object) -> Any:
        raise UnreachableError("the registry does not answer")

    ran.fleet.plan_again = refuse  # type: ignore[method-assign]
    record = ran.run()
    assert record.outcomes["pi1"].reason_code == "timeout"
    assert any(isinstance(event, Warned) for event in ran.listener.events)


def test_a_device_that_a_retry_finds_otherwise(tmp_path: Path) -> None:
    """Off, and full: no attempt is made, what was done before is counted."""
    off, full = FakeDevice("off", fails=("timeout",)), FakeDevice("full", fails=("timeout",))
    ran = Ran(tmp_path, off, full, retries=2)

    def change(event: Event) -> None:
        if isinstance(event, Pausing):
            off.online, full.cannot = (0, 0), "no-space"

    record = ran.run(change)
    assert {name: (one.status, one.reason_code, one.attempts, one.wave) for name, one in record.outcomes.items()} == {
        "off": ("offline", "offline", 1, 1),
        "full": ("failed", "no-space", 1, 1),
    }


@pytest.mark.parametrize("code", ["no-variant", "integrity"])
def test_an_image_that_the_plan_says_cannot_be_stops_nothing(code: ReasonCode, tmp_path: Path) -> None:
    """All that can come comes, to each device, once."""
    ran = Ran(tmp_path, *(FakeDevice(f"pi{n}", without=code) for n in range(4)), batch="1", max_fail="0", retries=2)
    record = ran.run()
    assert record.stops == ()
    assert {(one.status, one.reason_code, one.attempts) for one in record.outcomes.values()} == {("failed", code, 1)}
    for one in record.outcomes.values():
        assert [image.status for image in one.images] == ["pulled", "failed"]
    ran.run()
    for one in ran.record.outcomes.values():
        assert [image.status for image in one.images] == ["up-to-date", "failed"]
    assert all(one.attempts == one.pulls == 1 for one in ran.fleet.devices)


def test_one_that_fails_for_more_than_the_plan_says_counts(tmp_path: Path) -> None:
    devices = [FakeDevice(f"pi{n}", without="no-variant", always="no-space") for n in range(4)]
    ran = Ran(tmp_path, *devices, batch="1", max_fail="1")
    ran.run()
    assert [one.attempts for one in devices] == [1, 1, 0, 0]


def test_what_a_killed_attempt_left_goes_where_only_an_image_is_missing_that_cannot_be(tmp_path: Path) -> None:
    ran = Ran(tmp_path, FakeDevice("pi1", without="no-variant"))
    with ran.rollouts.begin(ran.fleet.plan(), ran.settings) as opened:
        opened.append(RolloutBegun(opened.id, 1, 1, False, 1.0))
        opened.append(WaveBegun(1, {"pi1": ARM64}, 1.0))
        opened.append(DeviceBegun("pi1", ARM64, 1, 1.0))
    ran.fleet.device("pi1").has_image = True
    record = roll_out(ran.rollouts.resume(), ran.fleet)
    assert ran.fleet.begun == ["pi1"]
    assert [image.status for image in record.outcomes["pi1"].images] == ["pulled", "failed"]


def test_a_runner_that_forgets_a_device(tmp_path: Path) -> None:
    ran = Ran(tmp_path, FakeDevice("pi1"), FakeDevice("pi2"))
    attempt = ran.fleet.attempt

    def forgetful(plans: Any) -> Any:
        return attempt(plans[:1])

    ran.fleet.attempt = forgetful  # type: ignore[method-assign]
    record = ran.run()
    assert record.outcomes["pi2"].reason_code == "internal"
    assert record.outcomes["pi1"].status == "pulled"


def test_cancelled_once_what_is_under_way_ends_and_nothing_more_begins(tmp_path: Path) -> None:
    ran = Ran(tmp_path, *(FakeDevice(f"pi{n}") for n in range(12)), batch="8,4")
    interrupt = FakeInterrupt(ran.fleet)
    at_cancel: list[str] = []

    def cancel(event: Event) -> None:
        if len(ran.fleet.begun) == 3 and not at_cancel:
            at_cancel.extend(ran.fleet.begun)
            interrupt.cancel()

    record = ran.run(cancel, interrupt)
    assert ran.fleet.begun == at_cancel
    assert {name for name, status in ran.statuses.items() if status == "pulled"} == set(at_cancel)
    rest = [one for name, one in record.outcomes.items() if name not in at_cancel]
    assert {(one.status, one.reason_code, one.error) for one in rest} == {
        ("skipped", "stopped", "the rollout was cancelled before its turn")
    }
    assert record.phase == "cancelled"
    error = failure_of(record)
    assert error is not None
    assert error.exit_code == 130
    again = roll_out(ran.rollouts.resume(), ran.fleet)
    assert {one.status for one in again.outcomes.values()} == {"pulled"}
    assert sorted(ran.fleet.begun) == sorted(ran.statuses)  # each once
    assert failure_of(again) is None


def test_cancelled_twice_what_is_under_way_is_ended(tmp_path: Path) -> None:
    ran = Ran(tmp_path, *(FakeDevice(f"pi{n}") for n in range(12)))
    interrupt = FakeInterrupt(ran.fleet)

    def cancel(event: Event) -> None:
        if len(ran.fleet.begun) == 3:
            interrupt.cancel()
            interrupt.end()

    record = ran.run(cancel, interrupt)
    pulled = {name for name, status in ran.statuses.items() if status == "pulled"}
    codes = {one.reason_code for one in record.outcomes.values() if one.device not in pulled}
    assert codes == {"interrupted", "stopped"}
    assert record.stops == ()
    again = roll_out(ran.rollouts.resume(), ran.fleet)
    assert {one.status for one in again.outcomes.values()} == {"pulled"}
    assert all(one.pulls == 1 for one in ran.fleet.devices)


@pytest.mark.parametrize("where", [Pausing, WaitingForOffline, DeviceTried])
def test_cancelled_while_it_waits(tmp_path: Path, where: type[Event]) -> None:
    ran = Ran(
        tmp_path,
        FakeDevice("pi1"),
        FakeDevice("pi2", fails=("timeout",)),
        FakeDevice("gone", online=(1e8, 1e9)),
        batch="1",
        pause=5,
        retries=1,
        wait_offline=1000,
        max_fail="100%",
    )
    interrupt = FakeInterrupt(ran.fleet)
    record = ran.run(lambda event: interrupt.cancel() if isinstance(event, where) else None, interrupt)
    assert record.phase == "cancelled"
    assert set(record.outcomes) == {"pi1", "pi2", "gone"}
    assert record.outcomes["gone"].status == "offline"


def test_a_cancel_that_came_too_late_changes_nothing(tmp_path: Path) -> None:
    ran = Ran(tmp_path, FakeDevice("pi1"))
    interrupt = FakeInterrupt(ran.fleet)
    record = ran.run(lambda event: interrupt.cancel() if isinstance(event, DeviceBegun) else None, interrupt)
    assert record.phase == "ended"
    assert failure_of(record) is None


def test_events_are_flat_for_json(tmp_path: Path) -> None:
    ran = Ran(tmp_path, FakeDevice("pi1", fails=("timeout",)), FakeDevice("v6", V6), retries=1)
    ran.run()
    for event in ran.listener.events:
        document = json.loads(json.dumps(event.to_json()))
        assert document["event"] == type(event).__name__
        assert all(value is None or isinstance(value, int | float | str | bool) for value in document.values())


@pytest.mark.parametrize(
    ("codes", "exit_code"),
    [
        (("no-variant", "no-variant"), 4),
        (("no-engine", "no-engine"), 8),
        (("no-space", "no-space"), 9),
        (("no-forwarding", "no-forwarding"), 8),
        (("unauthorized", "unauthorized"), 5),
        (("unreachable", "unreachable"), 6),
        (("host-key", "host-key"), 5),
        (("timeout", "timeout"), 6),
        (("integrity", "integrity"), 7),
        (("check", "check"), 10),
        (("held", "held"), 9),
        (("internal", "internal"), 1),
        (("timeout", "unreachable"), 10),
        (("timeout", None), 10),
        (("offline", "offline"), 10),
        (("offline", "timeout"), 10),
        ((None, None), 0),
    ],
)
def test_what_the_end_means_for_the_command(tmp_path: Path, codes: tuple[Any, Any], exit_code: int) -> None:
    devices = [
        FakeDevice(f"pi{n}", online=(0, 0) if code == "offline" else (0, 1e9), cannot=code)
        for n, code in enumerate(codes)
    ]
    ran = Ran(tmp_path, *devices)
    error: PolyarchError | None = failure_of(ran.run())
    assert (error.exit_code if error else 0) == exit_code
    if error:
        assert "2 of 2" in error.message or "1 of 2" in error.message
        assert error.hint


def test_skipped_devices_do_not_hide_why_the_others_failed(tmp_path: Path) -> None:
    ran = Ran(tmp_path, *(FakeDevice(f"pi{n}", always="no-space") for n in range(4)), batch="1")
    error = failure_of(ran.run())
    assert error is not None
    assert error.exit_code == 9
    assert "1 failed, 3 skipped" in error.message
