"""The simulated rollout comes to what paper says where one thing alone bounds it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from benchmarks.fleet_simulation import SCENARIOS, Fleet, human, rows, simulate

FREE = Fleet(devices=1000, forks=1000, bytes=1e6, uplink=1e15, line=1e15, task=0, setup=0)


@pytest.mark.parametrize(
    ("fleet", "seconds"),
    [
        (replace(FREE, uplink=1e7), 1000 * 1e6 / 1e7),
        (replace(FREE, line=1e5), 10),
        (replace(FREE, forks=10, line=1e6), 1000 / 10),
        (replace(FREE, forks=10, setup=2), 1000 / 10 * 2),
        (replace(FREE, task=0.5), 999 * 0.5),
        (replace(FREE, forks=1, setup=1, line=1e6), 1000 * 2),
        # Half of the devices cannot use more of the uplink than their lines carry.
        (replace(FREE, devices=2, uplink=3e5, line=1e5), 10),
        # Each site fetches three variants once; then its devices are served at once.
        (replace(FREE, uplink=1e7, sites=10, lan=1e15), 30 * 1e6 / 1e7),
    ],
    ids=["uplink", "line", "forks", "setup", "task", "one", "two", "sites"],
)
def test_what_alone_bounds_it_is_its_time(fleet: Fleet, seconds: float) -> None:
    assert simulate(fleet).seconds == pytest.approx(seconds, rel=1e-6)


def test_the_uplink_carries_each_devices_bytes_or_each_sites() -> None:
    assert simulate(FREE).uplink_bytes == 1000 * 1e6
    assert simulate(replace(FREE, sites=10, variants=3)).uplink_bytes == 30 * 1e6
    assert simulate(replace(FREE, sites=900, variants=3)).uplink_bytes == 1000 * 1e6  # never more than all devices


def test_a_row_for_each_scenario() -> None:
    assert len(rows(SCENARIOS)) == len(SCENARIOS)
    assert [human(one) for one in (12, 600, 7200)] == ["12 s", "10 min", "2.0 h"]
