"""The fleet engine `ansible`: one run of `ansible-playbook` for all devices, with one task for each."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

from polyarch.contract import MAX_OUTPUT, FleetDevice, FleetRun, FleetTask, PluginServices
from polyarch_plugins.fleet_engines.ansible.events import ENVIRON
from polyarch_plugins.fleet_engines.ansible.inventory import listing_command, parse_inventory
from polyarch_plugins.fleet_engines.ansible.play import Play, PlayDevice
from polyarch_plugins.fleet_engines.ansible.programs import AnsiblePrograms, private_folder
from polyarch_plugins.fleet_engines.ansible.run import AnsibleRun
from polyarch_plugins.fleet_engines.shell import quoted
from polyarch_plugins.fleet_engines.supervised import Supervised

_CLIENT = Path(__file__).with_name("ssh_client.py")
_PORTS = range(20000, 61000)
_TRIES = 2
"""Ports of a device that are tried: the first may be taken there."""


class AnsibleEngine:
    """Satisfies `FleetEngine` and `SendsInput`.

    It remembers the inventory that `devices` was last asked for: there Ansible finds how to reach them.
    """

    def __init__(self, services: PluginServices) -> None:
        self._programs = AnsiblePrograms(services.environ)
        self._inventory: tuple[str, ...] = ()
        self._ssh: str | None = None

    def devices(self, inventory: Sequence[str], pattern: str) -> Sequence[FleetDevice]:
        """What `ansible-inventory` says, in natural order."""
        code, output, errors = self._programs.run(listing_command(inventory, pattern))
        devices = parse_inventory(output, errors, code, pattern=pattern)
        self._inventory = tuple(inventory) or self._own_inventory()
        return devices

    def run(
        self,
        script: str,
        tasks: Sequence[FleetTask],
        *,
        forks: int,
        timeout: float,
        reach: int | None = None,
        must_reach: bool = True,
    ) -> AbstractContextManager[FleetRun]:
        """As the contract says; by connections other than SSH and `local` nothing can be reached."""
        return self._run(script, tasks, {}, forks, timeout, reach, must_reach and reach is not None)

    def run_with_input(
        self,
        script: str,
        tasks: Sequence[FleetTask],
        inputs: Mapping[str, Callable[[], Iterable[bytes]]],
        *,
        forks: int,
        timeout: float,
    ) -> AbstractContextManager[FleetRun]:
        """As the contract says; by connections other than SSH and `local` nothing can be sent, and the task fails."""
        missing = [task.device.name for task in tasks if task.device.name not in inputs]
        if missing:
            raise ValueError(f"there is no input for {missing[0]}")
        return self._run(script, tasks, inputs, forks, timeout, None, True)

    @contextmanager
    def _run(
        self,
        script: str,
        tasks: Sequence[FleetTask],
        inputs: Mapping[str, Callable[[], Iterable[bytes]]],
        forks: int,
        timeout: float,
        reach: int | None,
        needs_way: bool,
    ) -> Iterator[FleetRun]:
        if len({task.device.name for task in tasks}) != len(tasks):
            raise ValueError("a device has two tasks")
        token = secrets.token_hex(8)
        folder = private_folder(self._programs.environ, token)
        try:
            play = Play(script, token, folder, timeout, reach, needs_way, bool(inputs))
            if not tasks:
                yield AnsibleRun(play, {}, None, inputs, forks)
                return
            numbers = {task.device.name: number for number, task in enumerate(tasks)}
            # It is there before the files are written, so that they go should this process be killed meanwhile.
            with (folder / "errors").open("wb") as errors:
                process = Supervised(
                    self._command(play, forks),
                    self._environ(folder),
                    mark=token,
                    folder=folder,
                    held=True,
                    stderr=errors,
                )
            run = AnsibleRun(play, numbers, process, inputs, forks)
            try:
                self._write(play, tasks)
                process.start()
                yield run
            finally:
                run.close()
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _command(self, play: Play, forks: int) -> list[str]:
        sources = [*self._inventory, str(play.folder / "devices.json")]
        options = [f"--inventory={source}" for source in sources]
        program = self._programs.find("ansible-playbook")
        return [program, *options, f"--forks={max(1, forks)}", str(play.folder / "play.json")]

    def _environ(self, folder: Path) -> dict[str, str]:
        return {
            **self._programs.environ,
            **ENVIRON,
            "ANSIBLE_LOCAL_TEMP": str(folder / "tmp"),
            "ANSIBLE_RETRY_FILES_ENABLED": "false",
        }

    def _write(self, play: Play, tasks: Sequence[FleetTask]) -> None:
        for name in ("gate", "log", "in"):
            (play.folder / name).mkdir()
        clients: dict[str, Path] = {}
        devices = []
        for number, task in enumerate(tasks):
            program = self._program(task.device)
            if program not in clients:
                clients[program] = self._client(play, program, len(clients))
            ports = tuple(secrets.choice(_PORTS) for _ in range(_TRIES)) if play.reach else (0,)
            devices.append(PlayDevice(task.device.name, number, task.values, ports, clients[program]))
            if play.input:
                os.mkfifo(play.fifo(number), 0o600)
        (play.folder / "play.json").write_text(play.playbook())
        (play.folder / "devices.json").write_text(play.inventory(devices))

    def _program(self, device: FleetDevice) -> str:
        """The ssh that the user wants for a device: of its variables, or of Ansible's configuration."""
        named = device.variables.get("ansible_ssh_executable")
        if isinstance(named, str) and named and "{" not in named:
            return named
        if self._ssh is None:
            configured = self._programs.setting("ssh_executable", "ssh")
            self._ssh = configured if isinstance(configured, str) and configured else "ssh"
        return self._ssh

    def _client(self, play: Play, program: str, number: int) -> Path:
        """A program of its own for each ssh: what Ansible calls in its place."""
        must = "1" if play.needs_way else "0"
        words = [sys.executable, "-I", "-S", str(_CLIENT), program, str(play.folder), play.token]
        words += [str(play.reach or 0), must, str(MAX_OUTPUT)]
        path = play.folder / f"ssh-{number}"
        path.write_text(f'#!/bin/sh\nexec {" ".join(map(quoted, words))} "$@"\n')
        path.chmod(0o700)
        return path

    def _own_inventory(self) -> tuple[str, ...]:
        """The inventory that Ansible reads where it is told none: once it is told ours, it reads no other."""
        named = self._programs.setting("DEFAULT_HOST_LIST")
        return tuple(map(str, named)) if isinstance(named, list) else ()
