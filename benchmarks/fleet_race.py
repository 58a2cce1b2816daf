"""Many devices, an origin behind a slow link: one rollout against a loop of `ssh … podman pull`."""

from __future__ import annotations

import os
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from benchmarks.fleet_images import push
from benchmarks.fleet_site import FleetSite, at_all, fleet_site
from benchmarks.process import BenchmarkError, Run, measured
from benchmarks.programs import program
from benchmarks.result import Case, Figure, median

if TYPE_CHECKING:
    from support.fleet_lab import Device

DEVICES = 50
LINK = 100
"""Megabits a second that the origin sends."""
AT_ONCE = 20
"""What `fleet pull` does by itself, and `xargs -P` is told."""
LAYERS = {f"part-{number}": 9_000_000 for number in range(5)}
WALL, BYTES = 0.5, 0.1
_NAME = "fleet/app:1"


@dataclass(slots=True)
class Contender:
    """`sent` and `asked`: bytes of blobs from the origin in each run, and how often a blob was asked for at most.

    `load` is the machine's at the end of each run, which is this one's and whatever else there is.
    """

    words: Callable[[int], Sequence[str]]
    runs: list[Run] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    load: list[float] = field(default_factory=list)


def race(count: int, runs: int) -> Case:
    """So many devices are emptied before each contender's turn, and all have the image after it."""
    with fleet_site(["podman"] * count) as site:
        image = f"{site.origin.address}/{_NAME}"
        layers = push(site.origin, site.folder, _NAME, LAYERS)
        contenders = _contenders(site, image)
        site.slow(LINK)
        for turn in range(runs):
            for name, one in contenders.items():
                print(f"  {name}, {turn + 1} of {runs} …", file=sys.stderr)
                _turn(site, image, one, turn)
    return summed_up(count, sum(layers.values()), contenders)


def _contenders(site: FleetSite, image: str) -> dict[str, Contender]:
    names = site.folder / "names"
    names.write_text("".join(f"{device.name}\n" for device in site.lab.devices))
    ssh = f"ssh -n -F {site.lab.ssh_config}"
    pull = f"podman pull -q --tls-verify=false {image}"
    loop = f'while read -r name; do {ssh} "$name" {pull} || exit; done <{names}'
    at_once = f"xargs -a {names} -P {AT_ONCE} -I NAME {ssh} NAME {pull}"

    def rollout(turn: int) -> Sequence[str]:
        return site.polyarch(site.folder / f"root-{turn}", "pull", "--progress", "none", image)

    words: dict[str, Callable[[int], Sequence[str]]] = {
        "loop of ssh podman pull": lambda turn: ("sh", "-c", loop),
        f"xargs -P {AT_ONCE} ssh": lambda turn: ("sh", "-c", at_once),
        "polyarch fleet pull": rollout,
    }
    return {name: Contender(each) for name, each in words.items()}


def _turn(site: FleetSite, image: str, one: Contender, turn: int) -> None:
    at_all(site.lab.devices, _empty)
    before = len(site.origin.blobs())
    os.sync()
    one.runs.append(measured(one.words(turn), site.environment))
    one.load.append(os.getloadavg()[0])
    blobs = site.origin.blobs()[before:]
    one.sent.append(sum(size for _, size in blobs))
    one.asked.append(max(Counter(digest for digest, _ in blobs).values()))
    at_all(site.lab.devices, lambda device: _has(device, image))
    shutil.rmtree(site.folder / f"root-{turn}", ignore_errors=True)


def _empty(device: Device) -> None:
    device.ok([program("podman"), "system", "reset", "--force"])


def _has(device: Device, image: str) -> None:
    if device.run([program("podman"), "image", "exists", image]).returncode != 0:
        raise BenchmarkError(f"{device.name} has no image after a contender's turn")


def summed_up(count: int, size: int, contenders: Mapping[str, Contender]) -> Case:
    """What it came to, `size` being the bytes of the image's layers."""
    loop, at_once, own = contenders.values()
    return Case(
        f"{count} devices with podman, an image of {size / 1e6:.1f} MB, an origin that sends {LINK} Mbit/s",
        {name: one.runs for name, one in contenders.items()},
        [
            Figure("fleet pull ÷ the loop", median(own.runs) / median(loop.runs), WALL),
            Figure("bytes from the origin ÷ those of the loop", max(own.sent) / min(loop.sent), BYTES),
            Figure("the most often that a blob was asked for", max(own.asked), 1),
        ],
        [
            f"fleet pull ÷ xargs -P {AT_ONCE}: {median(own.runs) / median(at_once.runs):.2f}",
            "bytes from the origin: "
            + ", ".join(f"{name} {max(one.sent) / 1e6:.1f} MB" for name, one in contenders.items()),
            "load of the machine at the end: "
            + ", ".join(f"{name} {'; '.join(f'{load:.0f}' for load in one.load)}" for name, one in contenders.items()),
            "processor time in the table is that of the commands, not of sshd and podman on the devices",
        ],
    )
