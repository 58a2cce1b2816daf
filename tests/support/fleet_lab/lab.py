"""A fleet of real devices on one machine."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import IO, TypedDict

from polyarch.container.emulation import private_refusal
from polyarch_platforms import architecture, qemu, qemu_cpu
from polyarch_platforms.platform import parse
from support import foreign_root
from support.fleet_lab import ssh_files
from support.fleet_lab.device import Device
from support.fleet_lab.kinds import KINDS, PLATFORMS, Kind
from support.fleet_lab.network import Network
from support.fleet_lab.spec import Spec

_TESTS = Path(__file__).resolve().parents[2]
_PROGRAMS = ("ip", "nsenter", "ssh", "ssh-keygen", "sshd")
_ENGINES = {"docker": ("docker", "dockerd", "containerd"), "podman": ("podman",), "containerd": ("containerd", "ctr")}
_FOREIGN = ("?essential", "openssh-server")
"""Debian's packages of foreign devices. Engines in Go hang too often under QEMU's user mode."""

_SECONDS = 60
_STRANGER = 254
"""The number of what is attached: no device has it."""


class _Emulation(TypedDict):
    lower: str
    emulator: str
    variables: tuple[tuple[str, str], ...]


class NoLab(Exception):
    """No lab can be made on this machine; the message says why, and what would help."""


class Lab:
    """`with Lab(["docker", "pi-4"], folder, cache) as lab:` names of `KINDS`, each as often as wanted.

    `folder` must not be there: the lab makes it and takes it away. `cache` keeps the root file systems of foreign
    devices. Leaving the context ends and removes all; that happens, too, when this process is killed. Devices are
    called after their kinds, further ones of a kind `docker-2`, `docker-3`, … Raises NoLab.

    inventory   Ansible's, with the groups `servers` and `boards`
    ssh_config  `ssh -F` it: the devices by name
    gateway     this machine's address in the devices' network: what listens there is reached by all of them
    link        this machine's end of that network
    """

    def __init__(self, kinds: Sequence[str], folder: Path, cache: Path) -> None:
        self.folder = folder.absolute()
        self.inventory = self.folder / "inventory.yml"
        self.ssh_config = self.folder / "ssh_config"
        self._kinds = {name: KINDS[kind] for name, kind in _names(kinds)}
        self._cache = cache
        self._process: subprocess.Popen[str] | None = None
        self._devices: dict[str, Device] = {}
        self._network = Network(0)
        self._asking = Lock()

    @property
    def gateway(self) -> str:
        """See above."""
        return self._network.gateway

    @property
    def link(self) -> str:
        """See above."""
        return self._network.link

    @property
    def devices(self) -> tuple[Device, ...]:
        """All, in the order in which they were asked for."""
        return tuple(self._devices.values())

    def device(self, name: str) -> Device:
        """The one of that name."""
        return self._devices[name]

    def attach(self, pid: int) -> str:
        """Gives the network namespace of a process that is no device a link (`eth0`) to the devices; its address.

        The namespace has to be a new one, and the only one that is attached. Raises NoLab.
        """
        address = self._network.address(_STRANGER)
        self._ask({"attach": str(pid), "number": str(_STRANGER), "address": address})
        return address

    def __enter__(self) -> Lab:
        _check(self._kinds.values())
        roots = _roots(self._kinds.values(), self._cache)
        self.folder.mkdir(parents=True)
        try:
            self._network = self._start_supervisor()
            for spec in self._write_files(roots):
                self._devices[spec.name] = Device(spec, self._power)
            for device in self.devices:
                device.begin()
            for device in self.devices:
                device.await_ready()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Ends it."""
        process, self._process = self._process, None
        self._devices.clear()
        if process is not None:
            with contextlib.suppress(BrokenPipeError):
                process.communicate(timeout=_SECONDS)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _start_supervisor(self) -> Network:
        with (self.folder / "supervisor.log").open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "support.fleet_lab.supervisor", str(self.folder), str(os.getpid())],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                env={**os.environ, "PYTHONPATH": str(_TESTS)},
                start_new_session=True,
            )
        return Network(int(str(self._answer()["network"])))

    def _power(self, spec: Spec, on: bool) -> int:
        answer = self._ask({"start": spec.dump()} if on else {"stop": spec.name})
        return int(str(answer.get("pid", 0)))

    def _ask(self, request: Mapping[str, str]) -> Mapping[str, object]:
        with self._asking:
            assert self._process is not None, "the lab has ended"
            assert self._process.stdin is not None
            self._process.stdin.write(f"{json.dumps(request)}\n")
            self._process.stdin.flush()
            return self._answer()

    def _answer(self) -> Mapping[str, object]:
        assert self._process is not None
        assert self._process.stdout is not None
        stdout: IO[str] = self._process.stdout
        line = stdout.readline()
        answer: Mapping[str, object] = json.loads(line) if line else {"error": self._log()}
        if "error" in answer:
            raise NoLab(str(answer["error"]))
        return answer

    def _log(self) -> str:
        return (self.folder / "supervisor.log").read_text(errors="replace")[-2000:] or "its supervisor ended"

    def _write_files(self, roots: Mapping[str, Path]) -> list[Spec]:
        keys = self.folder / "keys"
        keys.mkdir(mode=0o700)
        login = ssh_files.make_key(keys / "login")
        specs, known = [], []
        for number, (name, kind) in enumerate(self._kinds.items(), 2):
            host_key = ssh_files.make_key(keys / name)
            spec = Spec(
                name=name,
                number=number,
                kind=kind,
                address=self._network.address(number),
                gateway=self.gateway,
                host_key=host_key.read_text(),
                login_key=ssh_files.public(login),
                **_emulation(kind, roots),
            )
            specs.append(spec)
            known.append((spec, host_key if kind.known_key else ssh_files.make_key(keys / f"{name}.earlier")))
        ssh_files.write_known_hosts(self.folder / "known_hosts", known)
        ssh_files.write_ssh_config(self.ssh_config, login, self.folder / "known_hosts", specs)
        ssh_files.write_inventory(self.inventory, self.ssh_config, specs)
        return specs


def _names(kinds: Sequence[str]) -> Iterator[tuple[str, str]]:
    seen = Counter[str]()
    for kind in kinds:
        seen[kind] += 1
        yield (kind if seen[kind] == 1 else f"{kind}-{seen[kind]}"), kind


def _check(kinds: Iterable[Kind]) -> None:
    """Raises NoLab for what is known beforehand."""
    if os.geteuid() != 0:
        raise NoLab("only root can make devices: they have networks, mounts and root users of their own")
    path = f"{os.environ.get('PATH', '')}:/usr/local/sbin:/usr/sbin:/sbin"
    wanted = {*_PROGRAMS, *(program for kind in kinds for program in _ENGINES.get(kind.engine, ()))}
    missing = sorted(program for program in wanted if shutil.which(program, path=path) is None)
    if missing:
        raise NoLab(f"these programs are missing here: {', '.join(missing)} (bash .ci/setup installs what is needed)")


def _roots(kinds: Iterable[Kind], cache: Path) -> dict[str, Path]:
    """The root file systems of the foreign devices, by architecture; they are made at once. Raises NoLab."""
    foreign = sorted({kind.architecture for kind in kinds if kind.architecture != "amd64"})
    if foreign and (refusal := private_refusal()) is not None:
        raise NoLab(f"foreign devices need a private emulation: {refusal.message}")
    try:
        with ThreadPoolExecutor(4) as pool:
            made = pool.map(lambda name: foreign_root.debian_root(name, cache, _FOREIGN), foreign)
            return dict(zip(foreign, made, strict=True))
    except foreign_root.NoForeignRoot as error:
        raise NoLab(f"no root file system for a foreign device: {error}") from error


def _emulation(kind: Kind, roots: Mapping[str, Path]) -> _Emulation:
    """What a device's programs come from and are run by. Raises NoLab."""
    if kind.architecture not in roots:
        return {"lower": "/", "emulator": "", "variables": ()}
    platform = parse(PLATFORMS[kind.architecture])
    known = architecture.load()[platform.architecture]
    binary = qemu.find(known)
    if binary is None or not binary.static:
        raise NoLab(f"no static QEMU for {known.name} here (apt install qemu-user-static)")
    variables = tuple(qemu_cpu.variables(platform, binary).items())
    return {"lower": str(roots[kind.architecture]), "emulator": str(binary.path.resolve()), "variables": variables}
