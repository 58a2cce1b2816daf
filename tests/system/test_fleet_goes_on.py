"""What a rollout stands by: the check it was asked for, the plan it was given, and the images that it began with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from polyarch.fleet.plan import make_plan
from polyarch.fleet.plan_json import plan_lines
from polyarch.fleet.planned import Plan, PlanSettings, Wish
from polyarch.fleet.reasons import FactsFault
from polyarch.fleet.record import RolloutSettings
from polyarch.fleet.rollout_events import DeviceBegun, RolloutBegun, WaveBegun
from polyarch.fleet.rollouts import Rollouts
from support.command import Polyarch
from support.docker_registry import DockerRegistry, skopeo_copy
from support.fleet_images import controller

pytestmark = pytest.mark.system

# One that is asked for, and not there, is not waited for.
NO_CONTAINERD = {"CONTAINERD_ADDRESS": "/nowhere"}
HERE = ("-i", "local:", "--into", "oci", "--format", "json")


def named(registry: DockerRegistry, name: str, source: str) -> str:
    """`name` stands for what `source` does."""
    skopeo_copy(f"docker://{registry.ref(source)}", f"docker://{registry.ref(name)}")
    return registry.ref(name)


def only(lines: list[dict[str, Any]]) -> dict[str, Any]:
    """The line of the one device."""
    (line,) = [line for line in lines if "device" in line]
    return line


def away() -> Plan:
    """A plan that was made while the one device was away."""
    fault = FactsFault("localhost", "offline", "nothing answers there")
    return make_plan([(Wish("localhost", ()), fault)], {}, {}, PlanSettings())


def test_the_check_is_made_though_all_is_at_hand(polyarch: Polyarch, registry: DockerRegistry) -> None:
    """Or a device whose check failed would have passed it by the next rollout."""
    name = registry.ref("busybox:1.36")
    for _ in range(2):
        done = polyarch("fleet", "pull", *HERE, "--retries", "0", "--check", "false", name, env=NO_CONTAINERD)
        line = only(done.json_lines)
        assert (done.code, line["status"], line["reason_code"]) == (10, "failed", "check")
    done = polyarch("fleet", "pull", *HERE, "--check", "true", name, env=NO_CONTAINERD).ok()
    line = only(done.json_lines)
    assert (line["status"], line["bytes"], line["attempts"]) == ("up-to-date", 0, 1)


def test_what_a_plan_has_nothing_for_gets_nothing(polyarch: Polyarch, tmp_path: Path) -> None:
    """It was away when the plan was made: that it has what it should is not known."""
    plan = tmp_path / "plan"
    plan.write_text("".join(json.dumps(line) + "\n" for line in plan_lines(away())))
    done = polyarch("fleet", "pull", *HERE, "--plan", plan, env=NO_CONTAINERD)
    line = only(done.json_lines)
    assert (done.code, line["status"], line["reason_code"]) == (3, "failed", "not-found")
    assert line["error"] == "the plan has nothing for it: nothing answers there"


@pytest.mark.parametrize(
    "locked",
    [
        False,
        pytest.param(True, marks=pytest.mark.costly),
    ],
    ids=["tag", "lock"],
)
def test_a_rollout_goes_on_with_the_images_that_it_began_with(
    locked: bool, polyarch: Polyarch, registry: DockerRegistry, tmp_path: Path
) -> None:
    """A device that was away then gets them, too: not what the tag stands for by now."""
    name, lock = named(registry, "fleet/goes-on:1", "busybox:1.36"), tmp_path / "polyarch.lock"
    words: list[str | Path] = [name]
    if locked:
        polyarch("lock", "--file", lock, name).ok()
        words = ["--locked", lock]
    began = only(polyarch("fleet", "pull", *HERE, *words, env=NO_CONTAINERD).ok().json_lines)
    rollouts = Rollouts(polyarch.root / "fleet" / "rollouts")
    command = rollouts.record().command
    # Another one, that began alike and was killed when nobody had answered yet.
    with rollouts.begin(away(), RolloutSettings(), command) as opened:
        opened.append(RolloutBegun(opened.id, 1, 0, False, 1.0, 0))
    named(registry, "fleet/goes-on:1", "zstd:1.0")
    lock.unlink(missing_ok=True)
    line = only(polyarch("fleet", "pull", "--resume", "--format", "json", env=NO_CONTAINERD).ok().json_lines)
    assert line["status"] == "up-to-date"
    assert [image["manifest"] for image in line["images"]] == [image["manifest"] for image in began["images"]]


def test_what_came_before_the_controller_was_killed_is_compared(polyarch: Polyarch, registry: DockerRegistry) -> None:
    name = registry.ref("busybox:1.36")
    polyarch("fleet", "pull", *HERE, name, env=NO_CONTAINERD).ok()
    rollouts = Rollouts(polyarch.root / "fleet" / "rollouts")
    before = rollouts.record()
    (planned,) = before.plan.devices
    platform = planned.platform or ""
    with rollouts.begin(before.plan, RolloutSettings(), before.command) as opened:
        opened.append(RolloutBegun(opened.id, 1, 1, False, 1.0, 0))
        opened.append(WaveBegun(1, {planned.device: platform}, 2.0))
        opened.append(DeviceBegun(planned.device, platform, 1, 3.0))
    line = only(polyarch("fleet", "pull", "--resume", "--format", "json", env=NO_CONTAINERD).ok().json_lines)
    assert (line["status"], line["attempts"]) == ("pulled", 2)
    assert line["images"][0]["at_hand"] == planned.images[0].manifest


def test_names_stand_for_what_they_stood_for(registry: DockerRegistry, tmp_path: Path) -> None:
    """Those by convention, too."""
    name = named(registry, "fleet/stood:1", "busybox:1.36")
    clock = registry.ref("clock:1.0")
    with controller(tmp_path / "first") as fleet:
        fleet.want({"four": "pi-4"}, name, clock)
        first, stands = fleet.plan().plan, fleet.offers.stands
    assert {name, registry.ref("clock-arm64:1.0")} <= stands.keys()
    named(registry, "fleet/stood:1", "zstd:1.0")
    with controller(tmp_path / "second", stood=stands) as fleet:
        fleet.want({"four": "pi-4"}, name, clock)
        assert fleet.plan().plan == first


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--resume", "--forks", "3"), "forks cannot be given with --resume"),
        (("--resume", "-i", "hosts"), "inventory cannot be given with --resume"),
        (("--limit-rate", "1M", "--transport", "direct", "alpine"), "--transport direct lets nothing go out"),
        (("--plan", "plan", "alpine"), "a plan has its images already"),
        (("--plan", "plan", "--locked", "polyarch.lock"), "a plan has its images already"),
    ],
)
def test_words_that_would_change_nothing_are_refused(words: tuple[str, ...], said: str, polyarch: Polyarch) -> None:
    done = polyarch("fleet", "pull", *words)
    assert done.code == 2
    assert said in done.stderr
