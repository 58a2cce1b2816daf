"""The engine `local`: this machine as a fleet of one."""

from __future__ import annotations

import hashlib
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.contract import MAX_OUTPUT, FleetResult, FleetStarted, FleetTask, PluginServices, SendsInput, UsageError
from polyarch_plugins.fleet_engines.local.engine import LocalEngine
from support.ansible_fleet import Happened, gone_through, running
from support.processes import await_true

TEXT = 'it\'s "quoted"\n\n{{ x }} $HOME `id` \\n \\\\ \t é 🦆'


@pytest.fixture
def engine() -> LocalEngine:
    return LocalEngine(PluginServices(environ=os.environ))


def ran(engine: LocalEngine, script: str, timeout: float = 60, reach: int | None = None, **values: str) -> FleetResult:
    (device,) = engine.devices((), "")
    with engine.run(script, [FleetTask(device, values)], forks=1, timeout=timeout, reach=reach) as run:
        happened: Happened = gone_through(run)
    assert happened.started == ["localhost"]
    return happened.results["localhost"]


@pytest.mark.parametrize("pattern", ["", "all", "localhost"])
def test_the_device(engine: LocalEngine, pattern: str) -> None:
    assert [device.name for device in engine.devices([""], pattern)] == ["localhost"]


@pytest.mark.parametrize(("inventory", "pattern"), [(["hosts.yml"], ""), ([], "pi1"), ([], "all:!localhost")])
def test_words_that_mean_nothing_here(engine: LocalEngine, inventory: list[str], pattern: str) -> None:
    with pytest.raises(UsageError) as caught:
        engine.devices(inventory, pattern)
    assert caught.value.hint


def test_a_script(engine: LocalEngine) -> None:
    done = ran(engine, 'printf %s "$text"; echo "$port" >&2; cat', reach=5000, text=TEXT)
    assert (done.status, done.code, done.output, done.error) == ("done", 0, TEXT, "5000\n")
    failed = ran(engine, 'echo "${port-none}"; exit 7')
    assert (failed.status, failed.code, failed.output) == ("failed", 7, "none\n")
    assert failed.began <= failed.ended


def test_too_much_is_cut(engine: LocalEngine) -> None:
    done = ran(engine, "head -c 9000000 /dev/zero | tr '\\0' x; head -c 9000000 /dev/zero | tr '\\0' y >&2")
    assert (done.status, len(done.output), len(done.error)) == ("done", MAX_OUTPUT, MAX_OUTPUT)


def test_a_time_limit_ends_all_that_was_started(engine: LocalEngine, tmp_path: Path) -> None:
    seconds, tidied = f"61.{secrets.randbelow(10**9):09}", tmp_path / "tidied"
    script = f"trap 'touch {tidied}; exit 1' TERM; (setsid sleep {seconds} &) ; echo begun; sleep {seconds}"
    done = ran(engine, script, timeout=0.5)
    assert (done.status, done.output, done.code) == ("timeout", "begun\n", None)
    assert done.ended - done.began < 60
    assert not running(seconds)
    assert tidied.exists()


def test_a_script_that_does_not_want_to_end(engine: LocalEngine) -> None:
    seconds = f"61.{secrets.randbelow(10**9):09}"
    done = ran(engine, f"trap '' TERM; sleep {seconds}; sleep {seconds}", timeout=0.2)
    assert done.status == "timeout"
    assert done.ended - done.began < 60
    assert not running(seconds)


def test_output_that_somebody_else_holds_open_is_not_waited_for(
    engine: LocalEngine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All that a script started is gone, and its output could be written to all the same."""
    monkeypatch.setattr("polyarch_plugins.fleet_engines.local.run._GRACE", 0.5)
    told, over, waited_for = tmp_path / "told", threading.Event(), list[bool]()

    def hold() -> None:
        await_true(told.exists, "it tells its number")
        descriptor = os.open(f"/proc/{told.read_text().strip()}/fd/1", os.O_WRONLY)
        waited_for.append(not over.wait(30))
        os.close(descriptor)

    thread = threading.Thread(target=hold)
    thread.start()
    try:
        done = ran(engine, f"echo $$ >{tmp_path}/it; mv {tmp_path}/it {told}; sleep 60", timeout=1)
    finally:
        over.set()
        thread.join()
    assert (done.status, waited_for) == ("timeout", [False])


def test_one_that_cannot_be_started_is_its_devices_fault(engine: LocalEngine) -> None:
    (device,) = engine.devices((), "")
    with engine.run("#" * (200 << 10), [FleetTask(device)], forks=1, timeout=60) as run:
        (result,) = gone_through(run).results.values()
    assert (result.status, result.code) == ("failed", None)
    assert "Argument list too long" in result.error


def test_the_end_and_what_is_skipped(engine: LocalEngine) -> None:
    (device,) = engine.devices((), "")
    with engine.run("sleep 60", [FleetTask(device)], forks=1, timeout=60) as run:
        events = iter(run)
        assert isinstance(next(events), FleetStarted)
        run.end()
        assert [getattr(event, "status", "") for event in events] == ["interrupted"]
    with engine.run("exit 9", [FleetTask(device)], forks=1, timeout=60) as run:
        run.skip(["localhost"])
        assert [getattr(event, "status", "") for event in run] == ["skipped"]
    with engine.run("exit 9", [FleetTask(device)], forks=1, timeout=60) as run:
        run.end()
        assert [getattr(event, "status", "") for event in run] == ["interrupted"]


KILLED = """\
import os, sys
from polyarch.contract import FleetTask, PluginServices
from polyarch_plugins.fleet_engines.local.engine import LocalEngine
engine = LocalEngine(PluginServices(environ=dict(os.environ)))
with engine.run(sys.argv[1], [FleetTask(engine.devices((), "")[0])], forks=1, timeout=300) as run:
    list(run)
"""


def test_a_killed_controller_leaves_nothing() -> None:
    seconds = f"61.{secrets.randbelow(10**9):09}"
    with subprocess.Popen([sys.executable, "-c", KILLED, f"setsid sleep {seconds} & sleep {seconds}"]) as process:
        try:
            await_true(lambda: len(running(f"sleep\0{seconds}")) == 2, "it sleeps")
        finally:
            process.send_signal(signal.SIGKILL)
    await_true(lambda: not running(seconds), "nothing runs any more")


def test_bytes_reach_the_script(engine: LocalEngine) -> None:
    assert isinstance(engine, SendsInput)
    (device,) = engine.devices((), "")
    piece = os.urandom(1 << 20)

    def fed(script: str, pieces: Iterator[bytes]) -> FleetResult:
        inputs = {"localhost": lambda: pieces}
        with engine.run_with_input(script, [FleetTask(device)], inputs, forks=1, timeout=60) as run:
            return gone_through(run).results["localhost"]

    def broken() -> Iterator[bytes]:
        yield piece
        raise ValueError("no such blob")

    done = fed("sha256sum", (piece for _ in range(9)))
    assert done.output.split()[0] == hashlib.sha256(piece * 9).hexdigest()
    early = fed("head -c 10 | wc -c; exit 3", (piece for _ in range(1000)))
    assert (early.status, early.code, early.output) == ("failed", 3, "10\n")
    bad = fed("cat >/dev/null; echo whole", broken())
    assert (bad.status, bad.output) == ("failed", "")
    assert "no such blob" in bad.error
