"""Fleets for the tests of fleet engines."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from polyarch.contract import FleetDevice, FleetResult, FleetRun, FleetStarted, FleetTask, PluginServices
from polyarch_plugins.fleet_engines.ansible.engine import AnsibleEngine

LOCAL: Mapping[str, object] = {"ansible_connection": "local"}


@dataclass(frozen=True)
class Fleet:
    """An engine and its devices. `folder` is where the engine puts its files while something runs."""

    engine: AnsibleEngine
    devices: Sequence[FleetDevice]
    folder: Path

    def tasks(self, **values: Mapping[str, str]) -> list[FleetTask]:
        """A task for each device, with these values by its name, an underscore standing for a hyphen."""
        return [FleetTask(device, values.get(device.name.replace("-", "_"), {})) for device in self.devices]


def make_fleet(
    folder: Path, hosts: Mapping[str, Mapping[str, object]], environ: Mapping[str, str] = {}, *, listed: bool = False
) -> Fleet:
    """A fleet of these hosts with their variables; an underscore in a name stands for a hyphen.

    That Ansible lists them takes as long as a task: it does where `listed` says so.
    """
    files = folder / "tmp"
    files.mkdir(exist_ok=True)
    path = folder / "hosts.yml"
    named = {name.replace("_", "-"): host for name, host in hosts.items()}
    path.write_text(json.dumps({"all": {"hosts": named}}))
    engine = AnsibleEngine(PluginServices(environ={**os.environ, "TMPDIR": str(files), **environ}))
    if listed:
        return Fleet(engine, engine.devices([str(path)], ""), files)
    engine._inventory = (str(path),)
    return Fleet(engine, [FleetDevice(name, (), host) for name, host in named.items()], files)


@dataclass
class Happened:
    """What a run told, in its order."""

    started: list[str] = field(default_factory=list)
    results: dict[str, FleetResult] = field(default_factory=dict)

    @property
    def statuses(self) -> dict[str, str]:
        return {name: result.status for name, result in self.results.items()}


def gone_through(run: FleetRun) -> Happened:
    """All that happens, each device's result once, after its start if it has begun."""
    happened = Happened()
    for event in run:
        if isinstance(event, FleetStarted):
            assert event.device not in happened.started
            happened.started.append(event.device)
        else:
            assert event.device not in happened.results
            assert (event.device in happened.started) or event.status in ("skipped", "interrupted", "failed")
            happened.results[event.device] = event
    return happened


def running(text: str) -> list[int]:
    """The processes that have a text in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if text.encode() in line and int(path.parent.name) != os.getpid():
            found.append(int(path.parent.name))
    return found
