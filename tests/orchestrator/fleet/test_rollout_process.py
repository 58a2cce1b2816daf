"""Processes that are at a rollout: killed at random moments and gone on with, and interrupted from a terminal."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from polyarch.fleet.rollouts import Rollouts
from support.fake_controller import PLATFORMS, devices

TESTS = Path(__file__).parents[2]
Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """A controller in its own process; ended with the test."""
    processes: list[subprocess.Popen[str]] = []

    def run(how: str, folder: Path = tmp_path) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "support.fake_controller", str(folder), how]
        environ = {**os.environ, "PYTHONPATH": str(TESTS)}
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ))
        return processes[-1]

    yield run
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def _until(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(word):
            return
    pytest.fail(f"it ended before {word}")


@pytest.mark.soak
def test_a_killed_controller_is_gone_on_with(tmp_path: Path, start: Start, count: Callable[[int, int], int]) -> None:
    """What fails stops its platform; all others have their image, which each pulled once."""
    for seed in range(count(1, 40)):
        chance, folder, kills = random.Random(seed), tmp_path / str(seed), 0
        folder.mkdir()
        process = start("begin", folder)
        while True:
            assert process.stdout is not None
            lines = [process.stdout.readline() for _ in range(chance.randrange(1, 40))]
            if "end ended\n" in lines:
                break
            process.kill()
            kills += 1
            process.wait()
            if Rollouts(folder / "rollouts").record().phase == "ended":
                break
            process = start("resume", folder)
        assert kills
        _hold(folder)


def _hold(folder: Path) -> None:
    record = Rollouts(folder / "rollouts").record()
    assert record.phase == "ended"
    log = Counter((folder / "log").read_text().splitlines())
    fleet = devices()
    first = next(device.name for device in fleet if device.platform == PLATFORMS[0])
    assert list(record.outcomes) == [device.name for device in fleet]
    for device in fleet:
        status = record.outcomes[device.name].status
        if device.always is None:
            assert status == "pulled"
            assert log[f"pulled {device.name}"] == 1
        elif device.name == first:
            assert status == "failed"
        else:
            assert status == "skipped"
            assert log[f"begun {device.name}"] == 0


def test_ctrl_c_reaches_a_runner_that_says_nothing(tmp_path: Path, start: Start) -> None:
    process = start("skip")
    _until(process, "DeviceBegun")
    process.send_signal(signal.SIGINT)
    assert "end cancelled" in process.communicate(timeout=60)[0]
    outcomes = Rollouts(tmp_path / "rollouts").record().outcomes
    assert Counter(one.status for one in outcomes.values()) == {"pulled": 1, "skipped": 29}


def test_the_second_ctrl_c_ends_what_is_under_way(tmp_path: Path, start: Start) -> None:
    process = start("end")
    _until(process, "DeviceBegun")
    process.send_signal(signal.SIGINT)
    _until(process, "SIGINT")  # two that come together are one
    process.send_signal(signal.SIGINT)
    assert "end cancelled" in process.communicate(timeout=60)[0]
    outcomes = Rollouts(tmp_path / "rollouts").record().outcomes
    assert Counter(one.reason_code for one in outcomes.values()) == {"interrupted": 1, "stopped": 29}


def test_ctrl_c_ends_a_pause(tmp_path: Path, start: Start) -> None:
    process = start("pause")
    _until(process, "Pausing")
    process.send_signal(signal.SIGINT)
    assert "end cancelled" in process.communicate(timeout=60)[0]
    outcomes = Rollouts(tmp_path / "rollouts").record().outcomes
    assert Counter(one.status for one in outcomes.values()) == {"pulled": 10, "failed": 5, "skipped": 15}


def test_ctrl_c_ends_the_wait_for_offline_devices(tmp_path: Path, start: Start) -> None:
    process = start("offline")
    _until(process, "WaitingForOffline")
    process.send_signal(signal.SIGINT)
    assert "end cancelled" in process.communicate(timeout=60)[0]
    assert Rollouts(tmp_path / "rollouts").devices("offline") == ("gone",)
