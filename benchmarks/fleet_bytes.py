"""What travels to a device against the layers that it lacks: as polyarch counts, and as its link does."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.fleet_images import push
from benchmarks.fleet_site import FleetSite, fleet_site
from benchmarks.process import BenchmarkError, Run, measured
from benchmarks.programs import program
from benchmarks.result import Case, Figure

if TYPE_CHECKING:
    from support.fleet_lab import Device

KINDS = ("docker", "podman", "containerd", "no-forwarding", "oci")
LAYERS = {f"part-{number}": 9_000_000 for number in range(5)}
MOST = 1.05
HEADERS = 14 + 20 + 32
"""Bytes of a frame that are Ethernet's, IP's and TCP's (RFC 7323: with time stamps): any transfer has them."""
_NAME = "fleet/app:1"


@dataclass(frozen=True, slots=True)
class Link:
    """What came in on a device's link: bytes of frames, and how many these were."""

    bytes: int
    frames: int

    @property
    def payload(self) -> int:
        """Bytes of what TCP carried."""
        return self.bytes - HEADERS * self.frames


@dataclass(frozen=True, slots=True)
class Pull:
    """One pull of all: bytes of the layers that each device lacked; by device the bytes that polyarch tells of, and
    what came in on its link.
    """

    run: Run
    lacked: int
    told: dict[str, int]
    came: dict[str, Link]


def bytes_to_devices(kinds: Sequence[str] = KINDS) -> Case:
    """A first pull, one after a layer has changed, and one that has nothing to do."""
    with fleet_site(kinds) as site:
        _frames(site)
        changed = {**LAYERS, "part-5": LAYERS["part-4"]}
        del changed["part-4"]
        had: dict[str, int] = {}
        pulls = {}
        for what, layers in (("a first pull", LAYERS), ("one layer changed", changed), ("nothing changed", changed)):
            print(f"  {what} …", file=sys.stderr)
            now = push(site.origin, site.folder, _NAME, layers)
            pulls[what] = _pulled(site, sum(size for digest, size in now.items() if digest not in had))
            had = now
    return summed_up(pulls)


def _frames(site: FleetSite) -> None:
    """Lets this machine send single frames to the devices, as a network card does in the end.

    By itself a pair of virtual links carries packets of up to 64 KiB, with one header each (ip-link(8), gso_max_segs).
    """
    words = [program("ip"), "link", "set", "dev", site.lab.link, "gso_max_segs", "1"]
    subprocess.run(words, check=True)


def _pulled(site: FleetSite, lacked: int) -> Pull:
    root, image = site.folder / "root", f"{site.origin.address}/{_NAME}"
    before = {device.name: _came(device) for device in site.lab.devices}
    run = measured(site.polyarch(root, "pull", "--progress", "none", image), site.environment)
    came = {}
    for device in site.lab.devices:
        now, then = _came(device), before[device.name]
        came[device.name] = Link(now.bytes - then.bytes, now.frames - then.frames)
    return Pull(run, lacked, _told(site, root), came)


def _came(device: Device) -> Link:
    """So far (proc_pid_net(5))."""
    for line in device.ok(["cat", "/proc/net/dev"]).splitlines():
        name, _, numbers = line.partition(":")
        if name.strip() == "eth0":
            count, frames = map(int, numbers.split()[:2])
            return Link(count, frames)
    raise BenchmarkError(f"{device.name} has no link")


def _told(site: FleetSite, root: Path) -> dict[str, int]:
    words = site.polyarch(root, "report", "--format", "json")
    said = subprocess.run(words, check=True, stdout=subprocess.PIPE, env=dict(site.environment), text=True)
    lines = map(json.loads, said.stdout.splitlines())
    return {line["device"]: line["bytes"] for line in lines if "device" in line}


def summed_up(pulls: Mapping[str, Pull]) -> Case:
    """The pulls of all, by what was pulled."""
    figures, notes = [], []
    for what, pull in pulls.items():
        if pull.lacked:
            worst = max(pull.came, key=lambda name: pull.came[name].payload)
            ratio = pull.came[worst].payload / pull.lacked
            figures.append(Figure(f"bytes to a device ÷ layers that it lacked, {what} ({worst})", ratio, MOST))
        notes.append(
            f"{what}, {pull.lacked / 1e6:.3f} MB lacked: as polyarch counts, by TCP on the link, all on the link"
        )
        for name, told in sorted(pull.told.items()):
            counts = (told, pull.came[name].payload, pull.came[name].bytes)
            shown = "".join(f"{count / 1e6:>10.3f} MB" for count in counts)
            ratios = "".join(f"{count / pull.lacked:>8.4f}" for count in counts) if pull.lacked else ""
            notes.append(f"  {name:<14}{shown}{ratios}")
    return Case("what travels to a device", {what: [pull.run] for what, pull in pulls.items()}, figures, notes)
