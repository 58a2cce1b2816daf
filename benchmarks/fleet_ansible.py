"""What Ansible costs the controller: reading a large inventory, and one task at many devices that do nothing.

A program, too, so that what is measured is below one process: python -m benchmarks.fleet_ansible INVENTORY [FORKS]
lists the devices, or has each do something trivial, with the connection `local`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.fleet_site import CHECKOUT
from benchmarks.memory import memory_of, tree
from benchmarks.process import BenchmarkError, Run
from benchmarks.result import Case, Figure

HOSTS = 10_000
COUNTS = (100, 500, 2000)
FORKS = 50
_LOOK = 0.5
"""Seconds between two looks at the memory of all."""
_GROUPS = 20
LISTING, LISTING_MEMORY = 30, 300
"""Seconds and megabytes; the first is what one waits for at most without thinking that something hangs."""


def inventory(hosts: int = HOSTS) -> Case:
    """Reading it, as every command over a fleet begins with."""
    run, _ = _measured(hosts)
    return Case(
        f"reading an inventory of {hosts:,} hosts",
        {"all of it": [run]},
        [
            Figure("reading", run.seconds, LISTING, " s"),
            Figure("memory of all processes", run.max_rss / 1e6, LISTING_MEMORY, " MB"),
        ],
    )


def task(counts: Sequence[int] = COUNTS) -> Case:
    """One task, the inventory's reading counted apart."""
    runs, notes = {}, []
    for count in counts:
        print(f"  {count} devices …", file=sys.stderr)
        run, own = _measured(count, str(FORKS))
        runs[f"{count:,} devices"] = [run]
        notes.append(
            f"{count:,} devices: {own['seconds']:.1f} s, {own['seconds'] / count * 1e3:.1f} ms a device"
            f" ({own['cpu'] / count * 1e3:.1f} ms of CPU), {run.max_rss / 1e6:.0f} MB at most,"
            f" polyarch itself {own['own'] / 1e6:.0f} MB"
        )
    notes.append("in the table: with the reading of the inventory; memory is that of all processes (PSS)")
    return Case(f"one task, connection local, {FORKS} forks", runs, [], notes)


def _measured(hosts: int, *forks: str) -> tuple[Run, dict[str, float]]:
    """The program's run, memory being that of all processes together, and what it tells of itself."""
    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as name:
        folder = Path(name)
        _write(folder / "hosts.yml", hosts)
        words = [sys.executable, "-m", "benchmarks.fleet_ansible", str(folder / "hosts.yml"), *forks]
        environment = {"PATH": os.environ["PATH"], "HOME": name, "TMPDIR": name, "LC_ALL": "C.UTF-8"}
        most, before, began = 0, os.times(), time.perf_counter()
        with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd=CHECKOUT, env=environment) as child:
            while child.poll() is None:
                most = max(most, _memory(child.pid))
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_LOOK)
            seconds, after = time.perf_counter() - began, os.times()
            assert child.stdout is not None
            said = child.stdout.read()
        if child.returncode != 0:
            raise BenchmarkError(f"{' '.join(words)} ended with {child.returncode}")
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return Run(seconds, cpu, most), json.loads(said)


def _write(path: Path, hosts: int) -> None:
    """An inventory as one grows: groups of sites, and a few variables a host."""
    lines = ["all:", "  vars:", "    ansible_connection: local", "  children:"]
    for group in range(_GROUPS):
        lines += [f"    site_{group}:", "      hosts:"]
        for number in range(group, hosts, _GROUPS):
            address = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
            lines.append(f"        device-{number:05}: {{ansible_host: {address}, polyarch_engine: docker}}")
    path.write_text("\n".join([*lines, ""]))


def _memory(pid: int) -> int:
    """Bytes of a process and all below it, what they share counted once."""
    found = 0
    for one in tree(pid):
        with contextlib.suppress(OSError, KeyError):  # it has just ended
            found += memory_of(one).pss
    return found


def main(path: str, forks: int) -> int:
    """Do it, and tell what it took as JSON; 1 where a device did not do it."""
    from polyarch.contract import FleetResult, FleetTask, PluginServices
    from polyarch_plugins.fleet_engines.ansible.engine import AnsibleEngine

    engine = AnsibleEngine(PluginServices(environ=dict(os.environ)))
    devices = engine.devices([path], "")
    began, before, done = time.perf_counter(), os.times(), 0
    if forks:
        with engine.run("echo hello", [FleetTask(one) for one in devices], forks=forks, timeout=600) as run:
            done = sum(isinstance(event, FleetResult) and event.output.strip() == "hello" for event in run)
    seconds, after = time.perf_counter() - began, os.times()
    cpu = sum(after[:4]) - sum(before[:4])
    own = memory_of(os.getpid()).pss
    print(json.dumps({"devices": len(devices), "seconds": seconds, "cpu": cpu, "own": own}))
    return int(bool(forks) and done != len(devices))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else 0))
