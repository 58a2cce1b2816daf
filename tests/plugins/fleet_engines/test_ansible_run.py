"""Ansible's lines, by a program that prints them: no Ansible is run."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from polyarch_plugins.fleet_engines.ansible.play import Play
from polyarch_plugins.fleet_engines.ansible.run import AnsibleRun
from polyarch_plugins.fleet_engines.supervised import Supervised
from support.ansible_fleet import gone_through

BEGINS = "echo ' [started TASK: polyarch on pi]'"
ENDS = """echo 'changed: [pi] => {"rc": 0, "stdout": "hello", "stderr": ""}'"""


def run(script: str, folder: Path, timeout: float = 60, *, sent: bool = False) -> AnsibleRun:
    play = Play("", "0" * 16, folder, timeout, input=sent)
    for path in (play.gate, folder / "log"):
        path.mkdir()
    (folder / "errors").touch()
    process = Supervised(["/bin/sh", "-c", script], {"PATH": "/usr/bin:/bin"})
    return AnsibleRun(play, {"pi": 0}, process, {}, 1)


@pytest.fixture
def clock_that_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the time of day finds it a day later."""
    days = itertools.count(1)
    monkeypatch.setattr("time.time", lambda: next(days) * 86400.0)


@pytest.mark.usefixtures("clock_that_is_set")
def test_no_device_is_late_because_somebody_set_the_clock(tmp_path: Path) -> None:
    under_way = run(f"{BEGINS}; {ENDS}", tmp_path)
    try:
        (result,) = gone_through(under_way).results.values()
    finally:
        under_way.close()
    assert (result.status, result.output) == ("done", "hello")


def test_one_that_ansible_does_not_end_in_time_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("polyarch_plugins.fleet_engines.ansible.run._GRACE", 0.2)
    under_way = run(f"{BEGINS}; sleep 60; : @{'0' * 16}:0:", tmp_path, timeout=0.2)
    try:
        (result,) = gone_through(under_way).results.values()
    finally:
        under_way.close()
    assert (result.status, result.error) == ("timeout", "it took longer than 0.2 seconds")
    assert result.began < result.ended


@pytest.mark.parametrize("sent", [False, True])
def test_why_a_become_with_a_password_goes_wrong_with_input_is_said(sent: bool, tmp_path: Path) -> None:
    """Ansible says that the password is wrong, which it is not."""
    fails = """echo 'fatal: [pi]: FAILED! => {"msg": "Task failed: Incorrect sudo password"}'"""
    under_way = run(fails, tmp_path, sent=sent)
    try:
        (result,) = gone_through(under_way).results.values()
    finally:
        under_way.close()
    assert result.status == "unauthorized"
    assert result.error.startswith("Task failed: Incorrect sudo password")
    assert ("use a become without one" in result.error) is sent
