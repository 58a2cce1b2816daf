"""How long a rollout over many devices takes, by simulation: `python -m benchmarks.fleet_simulation`.

A fluid model. The controller begins with a device when one of its forks is free and it has worked off what each task
costs itself; the device's connection is set up; then its bytes flow, as fast as its own line and its share of the
controller's uplink let them, every flow getting the same share unless its own line is slower (max-min fairness, which
is what TCP flows over one bottleneck come near to). With relays, a site's first copy of each variant comes over the
uplink and every device of the site gets it from there.

What it is fed with was measured or is said beside it; docs/fleet.md has the table and what follows from it.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import inf

MBIT = 1e6 / 8
"""Bytes a second in a megabit a second."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What is simulated. Sizes in bytes, rates in bytes a second, times in seconds.

    task    what one task costs the controller by itself (Ansible's main process), one device after the other
    setup   until a device's connection stands and its engine asks for the first blob
    sites   0: no relays; else so many, the devices spread evenly over them and `variants` at each
    """

    devices: int
    forks: int
    bytes: float
    uplink: float
    line: float
    task: float
    setup: float
    sites: int = 0
    variants: int = 3
    lan: float = 100 * MBIT


@dataclass(frozen=True, slots=True)
class Rollout:
    """What came out: seconds until the last device had all, and bytes that left the controller."""

    seconds: float
    uplink_bytes: float


def simulate(fleet: Fleet) -> Rollout:
    """The whole rollout of a fleet."""
    if fleet.sites:
        copies = min(fleet.sites * fleet.variants, fleet.devices)
        over_uplink = _flows(replace(fleet, devices=copies, sites=0), fleet.uplink, fleet.line)
        # A site's devices do not wait for other sites, but the controller still begins each of them.
        begun = _flows(replace(fleet, sites=0), inf, fleet.lan)
        return Rollout(max(over_uplink, begun), copies * fleet.bytes)
    return Rollout(_flows(fleet, fleet.uplink, fleet.line), fleet.devices * fleet.bytes)


def _flows(fleet: Fleet, uplink: float, line: float) -> float:
    """Seconds until all devices are done. All flows are equal, so that each gets `min(line, uplink / flows)`.

    The bytes that each flow has had since it began are the difference of one growing sum (virtual time).
    """
    waiting, busy, flowing = fleet.devices, 0, 0
    connecting: list[float] = []  # when connections will stand
    ends: list[float] = []  # the sum at which a flow will have all
    now = served = next_task = 0.0
    while waiting or busy:
        while waiting and busy < fleet.forks and next_task <= now:
            waiting, busy = waiting - 1, busy + 1
            heapq.heappush(connecting, now + fleet.setup)
            next_task = now + fleet.task
        rate = min(line, uplink / flowing) if flowing else 0.0
        begins = min(connecting[0] if connecting else inf, next_task if waiting and busy < fleet.forks else inf)
        done = now + (ends[0] - served) / rate if ends else inf
        # Not by the time that has gone by: where it is very short, rounding would let the sum stand still.
        served = ends[0] if done <= begins else served + rate * (max(begins, now) - now)
        now = max(min(begins, done), now)
        while connecting and connecting[0] <= now:
            heapq.heappop(connecting)
            heapq.heappush(ends, served + fleet.bytes)
            flowing += 1
        while ends and ends[0] <= served * (1 + 1e-12):
            heapq.heappop(ends)
            flowing, busy = flowing - 1, busy - 1
    return now


def human(seconds: float) -> str:
    """A time as people say it."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def rows(fleets: Iterable[tuple[str, Fleet]]) -> list[tuple[str, ...]]:
    """A line a fleet, for the page."""
    found = []
    for name, fleet in fleets:
        result = simulate(fleet)
        found.append((name, f"{fleet.devices:,}", str(fleet.forks), human(result.seconds), _size(result.uplink_bytes)))
    return found


def _size(count: float) -> str:
    return f"{count / 1e12:.2f} TB" if count >= 1e12 else f"{count / 1e9:.1f} GB"


# One task costs Ansible's main process 20 ms a host at some hundred hosts and 90 ms at 10,000 (README of this folder's
# figures: docs/fleet.md, "Ten thousand devices"); a cold SSH connection and the engine's first question take 1.5 s on a
# wide-area line.
SMALL = Fleet(devices=100, forks=50, bytes=20e6, uplink=1000 * MBIT, line=20 * MBIT, task=0.02, setup=1.5)
LARGE = replace(SMALL, devices=10_000, forks=200, task=0.09)

SCENARIOS: tuple[tuple[str, Fleet], ...] = (
    ("20 MB each, uplink 1 Gbit/s", SMALL),
    ("20 MB each, uplink 1 Gbit/s", LARGE),
    ("20 MB each, uplink 100 Mbit/s", replace(LARGE, uplink=100 * MBIT)),
    ("200 MB each, uplink 1 Gbit/s", replace(LARGE, bytes=200e6)),
    ("200 MB each, uplink 100 Mbit/s", replace(LARGE, bytes=200e6, uplink=100 * MBIT)),
    (
        "200 MB each, uplink 100 Mbit/s, 100 sites with a relay",
        replace(LARGE, bytes=200e6, uplink=100 * MBIT, sites=100),
    ),
    ("200 MB each, uplink 1 Gbit/s, 50 forks", replace(LARGE, bytes=200e6, forks=50)),
    ("one layer of 2 MB each, uplink 100 Mbit/s", replace(LARGE, bytes=2e6, uplink=100 * MBIT)),
)


def main() -> None:
    """Print the table."""
    table = [("what", "devices", "forks", "time", "from the controller"), *rows(SCENARIOS)]
    widths = [max(len(row[i]) for row in table) for i in range(len(table[0]))]
    for row in table:
        print("  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip())


if __name__ == "__main__":
    main()
