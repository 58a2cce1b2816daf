"""Rollouts on disk: journals, locks, names, what is kept, who holds a device."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.errors import NotFoundError, StorageError, UsageError
from polyarch.events import Event, Warned
from polyarch.fleet.journal import KEPT, Journal, read_journal
from polyarch.fleet.outcomes import DeviceOutcome, ImageOutcome
from polyarch.fleet.record import RolloutSettings
from polyarch.fleet.rollout_events import (
    DeviceBegun,
    DeviceFinished,
    DeviceSent,
    DeviceTried,
    PlatformStopped,
    RolloutBegun,
    RolloutEnded,
    WaveBegun,
    WaveEnded,
)
from polyarch.fleet.rollouts import KEPT_ROLLOUTS, OpenRollout, Rollouts
from polyarch.fleet.stop_rule import parse_max_fail
from polyarch.fleet.waves import parse_batch
from support.fake_fleet import FakeDevice, FakeFleet, roll_out
from support.fleet_plans import APP, digest

_OUTCOME = DeviceOutcome("pi\udc80", None, "failed", (ImageOutcome(APP, "failed", digest("m")),), error="ü\n")
EVENTS: tuple[Event, ...] = (
    RolloutBegun("20250101-000000", 3, 2, True, 1.5, 77),
    WaveBegun(1, {"pi": "linux/arm64", "v6": "linux/arm/v6"}, 2.0),
    DeviceBegun("pi", "linux/arm64", 1, 2.5),
    DeviceTried(DeviceOutcome("pi", "linux/arm64", "failed", reason_code="timeout", bytes=9, seconds=1.25)),
    DeviceFinished(DeviceOutcome("pi", "linux/arm64", "pulled", (ImageOutcome(APP, "pulled"),), wave=1)),
    PlatformStopped("linux/arm/v6", "all 2 devices tried in the wave failed", 3.0),
    PlatformStopped(None, "too many", 3.0),
    WaveEnded(1, 4.0),
    RolloutEnded("20250101-000000", True, 5.0, 99),
)


@pytest.fixture
def rollouts(tmp_path: Path) -> Rollouts:
    return Rollouts(tmp_path / "fleet" / "rollouts", clock=lambda: 1_700_000_000)


def _fleet(*names: str) -> FakeFleet:
    return FakeFleet([FakeDevice(name) for name in names or ("pi1", "pi2")])


def _journal(path: Path, events: tuple[Event, ...] = EVENTS) -> bytes:
    journal = Journal(path)
    for event in events:
        journal.append(event)
    journal.close()
    return path.read_bytes()


def test_a_journal_is_read_back_as_it_was(tmp_path: Path) -> None:
    assert {type(event) for event in EVENTS} == set(KEPT)
    _journal(tmp_path / "journal")
    assert read_journal(tmp_path / "journal") == list(EVENTS)
    assert read_journal(tmp_path / "none") == []


def test_a_journal_takes_every_text(tmp_path: Path) -> None:
    """Lone surrogates, too: so Python reads names that are no UTF-8."""
    _journal(tmp_path / "journal", (DeviceFinished(_OUTCOME),))
    assert read_journal(tmp_path / "journal") == [DeviceFinished(_OUTCOME)]


def test_what_is_not_for_the_journal_is_passed_over(tmp_path: Path) -> None:
    assert _journal(tmp_path / "journal", (DeviceSent("pi", 3), Warned("x"))) == b""


def test_a_journal_cut_anywhere_is_read_up_to_there_and_written_on(tmp_path: Path) -> None:
    data = _journal(tmp_path / "whole")
    ends = [index + 1 for index, byte in enumerate(data) if byte == ord("\n")]
    for cut in {*range(0, len(data), 7), *ends, *(end - 1 for end in ends), *(end + 1 for end in ends[:-1])}:
        path = tmp_path / "cut"
        path.write_bytes(data[:cut])
        whole = list(EVENTS[: sum(end <= cut for end in ends)])
        assert read_journal(path) == whole
        _journal(path, EVENTS[:1])
        assert read_journal(path) == [*whole, EVENTS[0]]


def test_a_long_torn_line_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "journal"
    _journal(path)
    with path.open("ab") as stream:
        stream.write(b'{"event": "' + b"x" * 300_000)
    _journal(path, EVENTS[:1])
    assert read_journal(path) == [*EVENTS, EVENTS[0]]


@pytest.mark.parametrize(
    "line", [b"no JSON", b"[]", b'{"event": "Else"}', b'{"event": "WaveEnded", "wave": 1}', b"\xff", b""]
)
def test_another_damaged_line_is_an_error(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "journal"
    data = _journal(path)
    path.write_bytes(line + b"\n" + data)
    with pytest.raises(StorageError, match="line 1"):
        read_journal(path)


def test_everything_is_there_when_it_is_opened_again(rollouts: Rollouts) -> None:
    fleet = _fleet()
    settings = RolloutSettings(parse_batch("1,10%"), parse_max_fail("20%"), 3, 1.5, 7200)
    with rollouts.begin(fleet.plan(), settings, {"inventory": ["hosts"], "forks": 5}) as opened:
        assert not opened.resumed
    with rollouts.resume(opened.id) as again:
        assert (again.id, again.plan, again.settings) == (opened.id, fleet.plan(), settings)
        assert again.resumed
        assert again.command == {"inventory": ["hosts"], "forks": 5}
    record = rollouts.record()
    assert (record.id, record.settings, record.phase) == (opened.id, settings, "broken-off")
    assert record.command == {"inventory": ["hosts"], "forks": 5}


def test_nobody_else_may_look(rollouts: Rollouts, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        roll_out(rollouts.begin(_fleet().plan(), RolloutSettings()), _fleet())
        _half(rollouts)
        rollouts.resume().__exit__(None, None, None)
    finally:
        os.umask(before)
    found = [*(tmp_path / "fleet").rglob("*"), tmp_path / "fleet"]
    assert len(found) > 8
    for path in found:
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def _half(rollouts: Rollouts, *names: str) -> str:
    """A rollout whose process died before it did anything."""
    with rollouts.begin(_fleet(*names).plan(), RolloutSettings()) as opened:
        return opened.id


def test_names_are_times_and_grow_also_where_the_clock_does_not(tmp_path: Path) -> None:
    now = iter([1_700_000_000, 1_700_000_000, 1_600_000_000, 1_700_000_100])
    rollouts = Rollouts(tmp_path, clock=lambda: next(now))
    ids = [_half(rollouts) for _ in range(4)]
    assert ids == ["20231114-221320", "20231114-221321", "20231114-221322", "20231114-221500"]
    assert rollouts.ids() == tuple(ids)


def test_old_rollouts_go(rollouts: Rollouts) -> None:
    with rollouts.begin(_fleet("other").plan(), RolloutSettings()) as running:
        ids = [_half(rollouts) for _ in range(KEPT_ROLLOUTS + 2)]
        assert rollouts.ids() == (running.id, *ids[-KEPT_ROLLOUTS:])
    ids.append(_half(rollouts))
    assert rollouts.ids() == tuple(ids[-KEPT_ROLLOUTS:])


def test_what_a_killed_one_left_goes(rollouts: Rollouts, tmp_path: Path) -> None:
    """Half made, half removed."""
    folder = tmp_path / "fleet" / "rollouts"
    for name in (".20230101-000000", ".20231114-221320"):
        (folder / name).mkdir(parents=True)
        (folder / name / "plan.jsonl").write_text("{")
    first = _half(rollouts)
    assert {path.name for path in folder.iterdir()} == {first, "lock"}


def test_one_that_is_killed_as_it_goes_on_can_be_gone_on_with(
    rollouts: Rollouts, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At any call that names a file, and at any that writes one."""
    half, turn = _half(rollouts), 0

    class KilledError(BaseException):
        pass

    def killing(name: str) -> None:
        real = getattr(os, name)

        def call(*words: object, **named: object) -> object:
            nonlocal left
            left -= 1
            if left == 0:
                raise KilledError
            return real(*words, **named)

        patch.setattr(os, name, call)

    while True:
        turn += 1
        left = turn
        with monkeypatch.context() as patch:
            for name in ("open", "fsync", "rename", "ftruncate", "pwrite", "fdopen"):
                killing(name)
            try:
                rollouts.resume().__exit__(None, None, None)
            except KilledError:
                continue
        break
    assert turn > 5
    with rollouts.resume() as opened:
        assert opened.id == half


def test_the_last_unfinished_one_is_gone_on_with(rollouts: Rollouts) -> None:
    fleet = _fleet()
    with pytest.raises(UsageError, match="there has been none"):
        rollouts.resume()
    first = _half(rollouts)
    half = _half(rollouts)
    ended = roll_out(rollouts.begin(fleet.plan(), RolloutSettings()), fleet)
    with rollouts.resume() as opened:
        assert opened.id == half
        with rollouts.resume() as older:
            assert older.id == first
        with pytest.raises(UsageError, match=rf"{half} is at it \(process {os.getpid()}\)"):
            rollouts.resume(half)
    with pytest.raises(UsageError, match="come to its end") as caught:
        rollouts.resume(ended.id)
    assert "@failed" in (caught.value.hint or "")
    with pytest.raises(NotFoundError, match=r"no rollout '\.\./x'"):
        rollouts.resume("../x")


def test_one_that_has_ended_is_not_gone_on_with(rollouts: Rollouts) -> None:
    ended = roll_out(rollouts.begin(_fleet().plan(), RolloutSettings()), _fleet())
    with pytest.raises(UsageError, match=f"the last, {ended.id}, has come to its end"):
        rollouts.resume()


def test_one_that_runs_is_not_gone_on_with(rollouts: Rollouts) -> None:
    with rollouts.begin(_fleet().plan(), RolloutSettings()) as opened:
        assert rollouts.record().phase == "running"
        with pytest.raises(UsageError, match=f"{opened.id} is at it"):
            rollouts.resume()
    assert rollouts.record().phase == "broken-off"


def test_a_lock_that_nobody_holds_any_more_is_free(rollouts: Rollouts) -> None:
    """That of a process that died."""
    child = os.fork()
    if child == 0:
        rollouts.begin(_fleet().plan(), RolloutSettings())
        os._exit(0)
    os.waitpid(child, 0)
    with rollouts.resume() as opened:
        assert opened.id == rollouts.ids()[0]


def test_a_device_that_another_rollout_is_at_is_held(rollouts: Rollouts) -> None:
    one = FakeFleet([FakeDevice("pi1"), FakeDevice("pi2"), FakeDevice("ready", has_image=True)])
    two = FakeFleet([FakeDevice("pi2"), FakeDevice("pi3"), FakeDevice("ready", has_image=True)])
    with rollouts.begin(one.plan(), RolloutSettings()) as opened:
        other = rollouts.begin(two.plan(), RolloutSettings())
        assert other.held == dict.fromkeys(["pi1", "pi2"], f"the rollout {opened.id} is at it (process {os.getpid()})")
        with rollouts.begin(_fleet("pi3", "pi2").plan(), RolloutSettings()) as third:
            assert {name: who.split()[2] for name, who in third.held.items()} == {
                "pi1": opened.id,
                "pi2": opened.id,
                "pi3": other.id,
            }
        record = roll_out(other, two)
        assert {name: one.status for name, one in record.outcomes.items()} == {
            "pi2": "failed",
            "pi3": "pulled",
            "ready": "up-to-date",
        }
        assert record.outcomes["pi2"].reason_code == "held"
        assert opened.id in (record.outcomes["pi2"].error or "")
        opened.append(RolloutBegun(opened.id, 3, 1, False, 1.0))
        opened.append(DeviceFinished(DeviceOutcome("pi2", "linux/arm64", "pulled")))
        with rollouts.begin(_fleet().plan(), RolloutSettings()) as fourth:
            assert set(fourth.held) == {"pi1"}  # it has done with pi2
    with rollouts.begin(_fleet().plan(), RolloutSettings()) as last:
        assert last.held == {}


def test_another_inventory_may_have_a_device_of_the_same_name(rollouts: Rollouts) -> None:
    def opened(inventory: list[str], folder: str) -> OpenRollout:
        command = {"request": {"inventory": inventory, "folder": folder}}
        return rollouts.begin(_fleet("pi1").plan(), RolloutSettings(), command)

    with opened(["/a/hosts"], "/a") as first, opened([], "/a") as second:
        for inventory, folder, holder in (
            (["/a/hosts"], "/a", first.id),
            (["/a/hosts"], "/b", first.id),
            (["/b/hosts"], "/b", ""),
            ([], "/a", second.id),
            ([], "/b", ""),
        ):
            with opened(inventory, folder) as other:
                assert holder in other.held.get("pi1", ""), (inventory, folder)
                assert bool(other.held) is bool(holder), (inventory, folder)


def test_a_resumed_one_does_not_take_devices_from_another(rollouts: Rollouts) -> None:
    fleet = _fleet()
    _half(rollouts)
    with rollouts.begin(_fleet("pi2", "pi3").plan(), RolloutSettings()) as running:
        record = roll_out(rollouts.resume(rollouts.ids()[0]), fleet)
        assert record.outcomes["pi2"].reason_code == "held"
        assert running.id in (record.outcomes["pi2"].error or "")
        assert fleet.begun == ["pi1"]


def test_there_was_no_rollout(rollouts: Rollouts) -> None:
    assert rollouts.ids() == ()
    for _ in range(2):
        with pytest.raises(NotFoundError):
            rollouts.devices("failed")
        (rollouts._folder).mkdir(parents=True, exist_ok=True)


@pytest.fixture
def damaged(rollouts: Rollouts) -> Iterator[Path]:
    roll_out(rollouts.begin(_fleet().plan(), RolloutSettings()), _fleet())
    yield rollouts._folder / rollouts.ids()[0]
    with pytest.raises(StorageError):
        rollouts.record()
    assert _half(rollouts)  # which keeps nobody from another


def test_damaged_settings(damaged: Path) -> None:
    (damaged / "rollout.json").write_text("{")


def test_settings_of_another_version(damaged: Path) -> None:
    (damaged / "rollout.json").write_text('{"version": 2}')


def test_wrong_settings(damaged: Path) -> None:
    document = json.loads((damaged / "rollout.json").read_text())
    document["settings"]["batch"] = "many"
    (damaged / "rollout.json").write_text(json.dumps(document))


def test_a_cut_plan(damaged: Path) -> None:
    (damaged / "plan.jsonl").write_text("")


def test_no_plan(damaged: Path) -> None:
    (damaged / "plan.jsonl").unlink()


def test_a_journal_of_another_rollout(damaged: Path) -> None:
    (damaged / "journal.jsonl").write_bytes(_journal(damaged / "other"))


def test_a_place_that_cannot_be_written_to(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        Rollouts(tmp_path / "file" / "rollouts").begin(_fleet().plan(), RolloutSettings())
