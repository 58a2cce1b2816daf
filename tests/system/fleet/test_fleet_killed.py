"""A rollout whose controller is killed at random moments, or ended by signals: going on with it comes to the same end.

Nothing is fetched or sent twice but what the end cut, and nothing of it stays, neither on a device nor here.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from support.command import Polyarch, Result
from support.fleet_controller import Controller, controller_of
from support.fleet_leftovers import at_work, blobs_of
from support.fleet_site import FleetSite, at_hand, by_device
from support.processes import await_true

pytestmark = pytest.mark.system
SOAK = os.environ.get("POLYARCH_SOAK") == "1"

SEED = 20
SAMPLE = ("docker", "no-forwarding")
SLOWLY = ("--limit-rate", "3M", "--retries", "0")
SIZE = 350_000
PATIENCE = 300
INDEX = 20_000
"""Bytes at most of a layout's index.json in an archive."""

Moment = Callable[[Controller, Popen[str]], None]
"""Waits for a moment to kill the process."""


@pytest.mark.soak
def test_killed_at_any_moment(
    fleet_site: FleetSite, polyarch: Polyarch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One that is killed again and again; in `make soak` also twenty that are killed once, at moments of any kind."""
    chance = random.Random(SEED)
    moments = [asking, serving(chance.uniform(0, 1.5))]
    if SOAK:
        moments = [after(chance.uniform(0, 2)), *moments, serving(chance.uniform(0, 1.5))]
    one = controller_of(fleet_site, polyarch, tmp_path, "killed", *(() if SOAK else SAMPLE), size=SIZE)
    figures = killed_and_gone_on_with(one, moments)
    assert figures["serving"]
    if not SOAK:
        return
    whole, served = undisturbed(fleet_site, polyarch, tmp_path)
    for turn in range(20):
        one = controller_of(fleet_site, polyarch, tmp_path, f"killed-{turn}", size=SIZE)
        # Most shall meet devices that are served.
        moment = serving(chance.uniform(0, 0.7 * served))
        if turn % 5 == 0:
            moment = after(chance.uniform(0, whole))
        elif turn % 5 == 1:
            moment = bringing(chance.uniform(0, 0.3))
        figures += killed_and_gone_on_with(one, [moment])
    with capsys.disabled():
        print(f"\n{dict(figures)}; undisturbed it takes {whole:.1f} s, {served:.1f} s of them for serving devices")


def undisturbed(site: FleetSite, polyarch: Polyarch, folder: Path) -> tuple[float, float]:
    """The seconds that all takes, and those in which devices are served."""
    one = controller_of(site, polyarch, folder, "undisturbed", size=SIZE)
    began = time.monotonic()
    comes_to_its_end(one, one.start(*SLOWLY))
    seconds = time.monotonic() - began
    (first,), (last,) = one.happened("WaveBegun"), one.happened("WaveEnded")
    one.prove()
    return seconds, last["at"] - first["at"]


def asking(one: Controller, process: Popen[str]) -> None:
    """While devices are asked what they are."""
    await_true(lambda: any(at_work(device) for device in one.able), "devices are asked", PATIENCE)


def after(seconds: float) -> Moment:
    """So long after the start of the process."""
    return lambda one, process: time.sleep(seconds)


def bringing(seconds: float) -> Moment:
    """So long after the first bytes came here."""

    def wait(one: Controller, process: Popen[str]) -> None:
        place = one.root / "oci" / ".polyarch" / "partial"
        await_true(lambda: place.is_dir() and any(place.iterdir()), "something comes", PATIENCE, every=0.001)
        time.sleep(seconds)

    return wait


def serving(seconds: float) -> Moment:
    """So long after the process began with a first device."""

    def wait(one: Controller, process: Popen[str]) -> None:
        before = len(one.happened("DeviceBegun"))
        await_true(lambda: len(one.happened("DeviceBegun")) > before, "devices are served", PATIENCE)
        time.sleep(seconds)

    return wait


def killed_and_gone_on_with(one: Controller, moments: Sequence[Moment]) -> Counter[str]:
    """A rollout that is killed at these moments comes to the same end as another. What it was at then, and the like."""
    figures, process = Counter[str](), one.start(*SLOWLY)
    fetched: list[
        tuple[set[str], Counter[str]]
    ] = []  # at each kill: the blobs that were whole, and all that were asked
    for moment in moments:
        moment(one, process)
        one.kill(process)
        met = stage(one)
        figures[met] += 1
        over = {event["outcome"]["device"]: event["outcome"] for event in one.happened("DeviceFinished")}
        one.await_over()
        assert one.left() == [], f"killed while {met}"
        fetched.append((one.whole_blobs(), Counter(one.witness.blobs())))
        had = {device.name: blobs_of(device) for device in one.able}
        done = {device.name for device in one.able if at_hand(device, one.image.name) is not None}
        process = one.resume()
        if met != "serving":
            refused = one.finish(process)
            assert refused.code == 2, refused.stdout + refused.stderr
            assert "there is no rollout to go on with" in refused.stderr
            process = one.start(*SLOWLY)
    lines = comes_to_its_end(one, process)
    for device in one.able:
        line, variant = lines[device.name], one.image.on(device)
        if device.name in over and met == "serving":
            assert line == over[device.name]
        elif device.name in done:
            assert line["bytes"] <= variant.documents * 1.05 + INDEX, line
        else:
            lacking = sum(size for digest, size in variant.layers.items() if digest not in had[device.name])
            assert line["bytes"] <= (lacking + variant.documents) * 1.05 + INDEX, f"{line}: it had {had[device.name]}"
    # The origin: each blob once, and once more where a kill cut it off.
    asked = Counter(one.witness.blobs())
    twice = {digest for digest, times in asked.items() if times > 1}
    assert asked.keys() == one.wanted()
    assert max(asked.values()) <= 1 + figures["bringing"]
    for whole, before in fetched:
        assert {digest: asked[digest] for digest in whole} == {digest: before[digest] for digest in whole}
    served = [device for device in one.able if device.name not in over]
    return figures + Counter({"devices served again": len(served), "blobs cut": len(twice)})


def stage(one: Controller) -> str:
    """What it was at when it was killed."""
    if one.happened("RolloutEnded"):
        return "ending"
    if one.journal():
        return "serving"
    return "bringing" if (one.root / "oci" / "blobs").is_dir() else "asking"


def comes_to_its_end(one: Controller, process: Popen[str]) -> dict[str, dict[str, Any]]:
    """Every device that can be served has what it should. The lines of all."""
    result = one.finish(process)
    assert result.code == (0 if len(one.able) == len(one.devices) else 10), result.stdout + result.stderr
    one.prove()
    lines = by_device(result.json_lines)
    assert lines.keys() == {device.name for device in one.devices}
    for device in one.able:
        assert lines[device.name]["status"] in ("pulled", "up-to-date"), lines[device.name]
    return lines


@pytest.mark.costly
@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_signals_let_what_is_under_way_end_or_end_it(
    number: str, fleet_site: FleetSite, polyarch: Polyarch, tmp_path: Path
) -> None:
    """One, and the rest is skipped; two, and what is under way is cut. Each time it is gone on with."""
    names = ("docker", "no-forwarding")
    one = controller_of(fleet_site, polyarch, tmp_path, f"ended-by-{number.lower()}", *names, size=SIZE)
    process = one.start("--limit-rate", "1M", "--forks", "1")
    await_true(lambda: bool(one.happened("DeviceBegun")), "it serves a device", PATIENCE)
    process.send_signal(signal.Signals[number])
    lines = interrupted(one.finish(process))
    (first,) = {event["device"] for event in one.happened("DeviceBegun")}
    (other,) = set(names) - {first}
    assert reasons(lines) == {first: ("pulled", None), other: ("skipped", "stopped")}
    one.await_over()
    assert one.left() == []

    process = one.resume()
    await_true(lambda: len(one.happened("DeviceBegun")) == 2, "it serves the other device", PATIENCE)
    for each in (signal.SIGINT, signal.SIGTERM):  # two of the same may come as one
        process.send_signal(each)
    gone_on = interrupted(one.finish(process))
    assert reasons(gone_on) == {first: ("pulled", None), other: ("failed", "interrupted")}
    assert gone_on[first] == lines[first]
    one.await_over()
    assert one.left() == []

    assert reasons(comes_to_its_end(one, one.resume())) == dict.fromkeys(names, ("pulled", None))
    assert Counter(one.witness.blobs()) == Counter(one.wanted())


def interrupted(result: Result) -> dict[str, dict[str, Any]]:
    """The lines of a command that was ended from here, and says so."""
    (error,) = (line["error"] for line in result.json_lines if "error" in line and "device" not in line)
    assert (result.code, error["code"]) == (130, "interrupted")
    assert "--resume" in error["hint"]
    return by_device(result.json_lines)


def reasons(lines: dict[str, dict[str, Any]]) -> dict[str, tuple[str, str | None]]:
    """The status and the reason code of each device."""
    return {name: (line["status"], line["reason_code"]) for name, line in lines.items()}
