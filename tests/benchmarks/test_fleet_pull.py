"""The benchmarks of fleets: what their figures come from, and each of them once, small."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
from benchmarks.fleet_ansible import inventory, task
from benchmarks.fleet_bytes import HEADERS, Link, Pull
from benchmarks.fleet_memory import downloads
from benchmarks.fleet_race import Contender
from benchmarks.memory import tree
from benchmarks.process import Run
from benchmarks.result import Case

from benchmarks import fleet_bytes, fleet_race

RUN = Run(10.0, 1.0, 30_000_000)


def values(case: Case) -> list[float]:
    return [figure.value for figure in case.figures]


def test_the_slowest_and_the_greediest_run_of_a_rollout_count() -> None:
    def one(*runs: tuple[float, int, int]) -> Contender:
        of_runs = [Run(seconds, 1.0, 30_000_000) for seconds, _, _ in runs]
        return Contender(lambda turn: (), of_runs, [sent for _, sent, _ in runs], [asked for _, _, asked in runs])

    loop, at_once = one((100, 5000, 50), (102, 4000, 50)), one((80, 5000, 50), (80, 5000, 50))
    own = one((40, 100, 1), (60, 200, 2))
    case = fleet_race.summed_up(50, 100, {"loop": loop, "xargs": at_once, "own": own})
    assert values(case) == [pytest.approx(50 / 101), 200 / 4000, 2]
    assert case.notes[0].endswith(f"{50 / 80:.2f}")


def test_the_device_that_got_most_counts_and_headers_do_not() -> None:
    few, many = Link(1000 + 2 * HEADERS, 2), Link(1060 + HEADERS, 1)
    pulls = {
        "first": Pull(RUN, 1000, {"pi": 1000, "box": 1010}, {"pi": few, "box": many}),
        "again": Pull(RUN, 0, {"pi": 0, "box": 0}, {"pi": few, "box": few}),
    }
    (figure,) = fleet_bytes.summed_up(pulls).figures
    assert (figure.value, figure.met) == (1.06, False)
    assert "(box)" in figure.name


def test_a_process_and_all_below_it() -> None:
    inner = "import os, sys; os.write(1, b'up\\n'); sys.stdin.read()"  # in one piece, whatever the buffering
    outer = f"import subprocess, sys; [subprocess.Popen([sys.executable, '-c', {inner!r}]) for _ in 'ab'][0].wait()"
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert [child.stdout.readline() for _ in "ab"] == [b"up\n"] * 2
        found = tree(child.pid)
        child.communicate()
    assert found[0] == child.pid
    assert len(found) == 3


def test_all_downloads_are_whole() -> None:
    (figure,) = downloads(5, (1 << 20) + 1).figures
    assert figure.met


@pytest.mark.system
@pytest.mark.costly
def test_every_device_of_an_inventory_does_its_task() -> None:
    """The program fails where one does not."""
    assert 0 < values(inventory(30))[1] < 300
    (runs,) = task([3]).contenders.values()
    assert runs[0].max_rss > 50_000_000, "Ansible's own processes are among those that count"


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can make devices")
    layers = {"part-0": 400_000, "part-4": 400_000}
    monkeypatch.setattr(fleet_race, "LAYERS", layers)
    monkeypatch.setattr(fleet_bytes, "LAYERS", layers)


@pytest.mark.system
@pytest.mark.soak
def test_two_devices_race(small: None, soak: bool) -> None:
    if not soak:
        pytest.skip("costly: make soak runs it")
    case = fleet_race.race(2, 1)
    assert [len(runs) for runs in case.contenders.values()] == [1, 1, 1]
    _, of_loop, asked = values(case)
    assert of_loop == pytest.approx(0.5, abs=0.01), "once for two devices"
    assert asked == 1


@pytest.mark.system
@pytest.mark.soak
def test_what_travels_to_a_device(small: None, soak: bool) -> None:
    if not soak:
        pytest.skip("make soak runs it")
    case = fleet_bytes.bytes_to_devices(["podman", "oci"])
    first, changed = values(case)
    assert 1 < first < 1.1
    assert 1 < changed < 1.2
