"""What a rollout leaves alone: platforms that are stopped, devices that are off, and those that another one is at."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.fleet_controller import controller_of
from support.fleet_lab import Device, Lab, NoLab
from support.fleet_site import OCI_PLACE, FleetSite, at_hand, by_device, embedded, rollouts
from support.processes import await_true

pytestmark = pytest.mark.system
SOAK = os.environ.get("POLYARCH_SOAK") == "1"

DEVICES = ("pi-zero", "pi-zero", "oci", "oci")
MORE = ("pi-zero", "pi-zero", "pi-zero", "pi-4", "pi-4", "pi-2", "docker", "podman", "containerd")
"""Further ones in `make soak`."""
V6 = "linux/arm/v6"
PATIENCE = 300


@pytest.fixture(scope="module")
def boards(
    registry: DockerRegistry,
    foreign_busybox: Callable[[str], Path],
    test_cache: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[FleetSite]:
    """A fleet most of whose devices are of the oldest platform. They are all on when a test ends."""
    folder = tmp_path_factory.mktemp("boards")
    try:
        lab = Lab([*DEVICES, *(MORE if SOAK else ())], folder / "lab", test_cache).__enter__()
    except NoLab as error:
        pytest.skip(f"no lab of devices can be made: {error}")
    yield FleetSite(lab, registry, folder, foreign_busybox)
    lab.close()


def logins(device: Device) -> int:
    """How often somebody was let in."""
    return (device.root / "var/log/sshd.log").read_text(errors="replace").count("Accepted publickey")


def states(lines: dict[str, dict[str, Any]]) -> dict[str, tuple[str, str | None]]:
    """The status and the reason code of each device."""
    return {name: (line["status"], line["reason_code"]) for name, line in lines.items()}


def test_a_platform_that_fails_is_stopped_and_the_others_go_on(
    boards: FleetSite, polyarch: Polyarch, tmp_path: Path
) -> None:
    """Its other devices are asked what they are, and that is all. In `make soak` what failed is repeated alone."""
    site, page = boards, tmp_path / "report.html"
    image = site.push("fleet/stopped:1", "stopped", parts=["stopped"])
    tried, *untried = [one for one in site.lab.devices if one.platform == V6]
    others = [one for one in site.lab.devices if one.platform != V6]
    before = {device.name: logins(device) for device in untried}
    check = f'test "$(uname -m)" != {tried.machine}'
    words = site.fleet("pull", "--format", "json", image.name)
    result = polyarch(*words, "--batch", "2,100%", "--check", check, "--report", page, seconds=PATIENCE)
    assert result.code == 10, result.stdout + result.stderr
    lines = by_device(result.json_lines)
    assert states(lines) == {
        tried.name: ("failed", "check"),
        **{device.name: ("skipped", "stopped") for device in untried},
        **{device.name: ("pulled", None) for device in others},
    }
    assert {lines[device.name]["wave"] for device in others} == {1, 2}
    assert at_hand(tried, image.name) == image.digest_on(tried)
    why = f"{V6} was stopped: the only device tried in the wave failed"
    for device in untried:
        assert logins(device) == before[device.name] + 1
        assert not (device.root / OCI_PLACE).exists(), device.name
        assert lines[device.name]["error"] == why
    for device in others:
        assert at_hand(device, image.name) == image.digest_on(device), device.name
    (stop,) = embedded(page)["stops"]
    assert stop[:2] == [V6, "the only device tried in the wave failed"]
    report = polyarch("fleet", "report")
    assert report.code == 10
    assert report.stdout.count(why) == len(untried)
    if SOAK:
        assert repeats(site, polyarch, "@failed", image.name) == {tried.name: ("up-to-date", None)}


def repeats(site: FleetSite, polyarch: Polyarch, limit: str, image: str) -> dict[str, tuple[str, str | None]]:
    """What comes of the devices for which that was so in the last rollout; no other one hears of it."""
    before = {one.name: logins(one) for one in site.lab.devices}
    result = polyarch(*site.fleet("pull", "--format", "json", "--limit", limit, image), seconds=PATIENCE).ok()
    done = states(by_device(result.json_lines))
    assert done.keys() == {one.name for one in site.lab.devices if logins(one) != before[one.name]}
    return done


@pytest.mark.costly
def test_a_platform_is_stopped_while_its_wave_runs(boards: FleetSite, polyarch: Polyarch) -> None:
    """One of its devices cannot write its layout, no failure is allowed, and each device comes by itself."""
    site = boards
    image = site.push("fleet/stopped-at-once:1", "stopped", parts=["stopped at once"])
    devices = [one for one in site.lab.devices if one.kind.engine == "oci"]
    spoilt, *untried = [one for one in devices if one.platform == V6]
    for device in devices:
        shutil.rmtree(device.root / OCI_PLACE, ignore_errors=True)
    (spoilt.root / OCI_PLACE).mkdir(parents=True)
    (spoilt.root / OCI_PLACE / "something else").write_text("")
    before = {device.name: logins(device) for device in untried}
    words = ("--format", "json", "--limit", ":".join(one.name for one in devices))
    rule = ("--forks", "1", "--max-fail", "0", "--retries", "0")
    result = polyarch(*site.fleet("pull", *words, *rule, image.name), seconds=PATIENCE)
    shutil.rmtree(spoilt.root / OCI_PLACE)
    assert result.code == 10, result.stdout + result.stderr
    lines = by_device(result.json_lines)
    assert lines[spoilt.name]["status"] == "failed"
    assert "holds files" in lines[spoilt.name]["error"]
    for device in untried:
        assert states(lines)[device.name] == ("skipped", "stopped")
        assert logins(device) == before[device.name] + 2  # what it is, and what its layout has
        assert not (device.root / OCI_PLACE).exists(), device.name
    for device in devices:
        if device.platform != V6:
            assert states(lines)[device.name] == ("pulled", None)
            assert at_hand(device, image.name) == image.digest_on(device)


@pytest.mark.costly
def test_devices_that_were_off_are_repeated_alone_or_waited_for(boards: FleetSite, polyarch: Polyarch) -> None:
    site, names = boards, ("oci", "oci-2", "docker")
    image = site.push("fleet/off:1", "off", parts=["off"])
    on, *off = (site.lab.device(name) for name in names)
    words = ("--format", "json", "--limit", ":".join(names))
    with switched_off(off):
        result = polyarch(*site.fleet("pull", *words, image.name))
        assert result.code == 10, result.stdout + result.stderr
        lines = states(by_device(result.json_lines))
        assert lines == {on.name: ("pulled", None), **{device.name: ("offline", "offline") for device in off}}
    assert repeats(site, polyarch, "@offline", image.name) == {device.name: ("pulled", None) for device in off}

    image = site.push("fleet/waited-for:1", "waited for", parts=["waited for"])
    with switched_off(off):
        earlier = len(rollouts(polyarch))
        process = polyarch.start(*site.fleet("pull", *words, "--wait-offline", "300", image.name))
        await_true(lambda: len(rollouts(polyarch)) > earlier, "it begins", PATIENCE)
        await_true(lambda: journal_tells(polyarch, "WaveEnded"), "the others are served", PATIENCE)
    done = by_device(polyarch.finish(process, seconds=PATIENCE).ok().json_lines)
    assert states(done) == dict.fromkeys(names, ("pulled", None))
    for device in off:
        assert done[device.name]["wave"] > done[on.name]["wave"]
        assert at_hand(device, image.name) == image.digest_on(device)


@contextmanager
def switched_off(devices: Sequence[Device]) -> Iterator[None]:
    for device in devices:
        device.stop()
    try:
        yield
    finally:
        for device in devices:
            device.start()


def journal_tells(polyarch: Polyarch, event: str) -> bool:
    """Of the last rollout."""
    journals = [polyarch.root / "fleet/rollouts" / name / "journal.jsonl" for name in rollouts(polyarch)[-1:]]
    return any(f'"{event}"' in path.read_text() for path in journals if path.exists())


@pytest.mark.costly
def test_two_rollouts_at_once_over_the_same_devices(fleet_site: FleetSite, polyarch: Polyarch, tmp_path: Path) -> None:
    """The second says who holds them, the first is not disturbed; afterwards it is the second one's turn."""
    names = ("docker", "no-forwarding", "pi-zero")
    first, second = (
        controller_of(fleet_site, polyarch, tmp_path, name, *names, size=1_000_000) for name in ("first", "second")
    )
    gates = [device.root / "tmp/gate" for device in first.devices]
    process = first.start("--check", "until [ -e /tmp/gate ]; do sleep 1; done")
    try:
        held = [device.root / "tmp/polyarch-fleet.lock" for device in first.devices]
        await_true(lambda: all(map(os.path.lexists, held)), "it is at all devices", PATIENCE, every=0.1)
        refused = second.finish(second.start())
        for gate in gates:
            gate.touch()
        done = by_device(first.finish(process).ok().json_lines)
    finally:
        for gate in gates:
            gate.unlink(missing_ok=True)
    (rollout,) = (path.name for path in first.root.glob("fleet/rollouts/[0-9]*"))
    lines = by_device(refused.json_lines)
    assert states(lines) == dict.fromkeys(names, ("failed", "held"))
    for line in lines.values():
        assert f"rollout {rollout} of " in line["error"]
        # What an SSH channel takes before it is told that nobody reads it (OpenSSH, channels.h: 2 MiB).
        assert line["bytes"] <= (0 if line["transport"] == "tunnel" else 3 << 20)
    (error,) = (line["error"] for line in refused.json_lines if "error" in line and "device" not in line)
    assert (refused.code, error["code"]) == (9, "storage")

    assert states(done) == dict.fromkeys(names, ("pulled", None))
    for device in first.devices:
        line, size = done[device.name], first.image.on(device).size
        assert line["attempts"] == 1
        assert size * 0.9 <= line["bytes"] <= size * 1.05
    first.prove()
    second.finish(second.start()).ok()
    second.prove()
