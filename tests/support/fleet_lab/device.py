"""A device of a lab, as its owner sees it who stands beside it: no SSH is needed to look at it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from support.fleet_lab.boot import DAEMONS, environment
from support.fleet_lab.kinds import MACHINES, PLATFORMS, Kind
from support.fleet_lab.spec import Spec
from support.processes import await_true

_SOCKETS = {"docker": "run/docker.sock", "containerd": "run/containerd/containerd.sock"}


@dataclass(frozen=True, slots=True)
class Process:
    """A process of a device, by its IDs here. Of an emulated one, the words begin with the emulator's."""

    pid: int
    parent: int
    words: tuple[str, ...]


class Device:
    """`power` switches it on (the ID of its first process is what it answers) or off."""

    def __init__(self, spec: Spec, power: Callable[[Spec, bool], int]) -> None:
        self.spec = spec
        self._power = power
        self._pid = 0

    @property
    def name(self) -> str:
        """In the inventory."""
        return self.spec.name

    @property
    def kind(self) -> Kind:
        """What it is."""
        return self.spec.kind

    @property
    def platform(self) -> str:
        """`linux/arm/v6`."""
        return PLATFORMS[self.kind.architecture]

    @property
    def machine(self) -> str:
        """What its `uname -m` says."""
        return MACHINES[self.kind.architecture]

    @property
    def on(self) -> bool:
        """Whether it runs."""
        return self._pid != 0

    @property
    def root(self) -> Path:
        """Its files, seen from here. It has to run."""
        return Path(f"/proc/{self._pid}/root")

    def start(self) -> None:
        """Switches it on, and waits until it and its engine answer."""
        self.begin()
        self.await_ready()

    def begin(self) -> None:
        """Switches it on."""
        self._pid = self._power(self.spec, True)

    def await_ready(self) -> None:
        """Waits until its sshd and its engine answer; AssertionError with their logs where they do not."""
        try:
            await_true(self._ready, f"the device {self.name} answers", 60)
        except AssertionError as error:
            logs = (self.root / "var/log").glob("*.log") if self.on else ()
            said = "\n".join(f"{path.name}: {path.read_text(errors='replace')[-2000:]}" for path in logs)
            raise AssertionError(f"{error}\n{said}") from None

    def stop(self) -> None:
        """Pulls its plug: nothing answers at its address. What is on its disk stays, /run and /tmp go."""
        self._power(self.spec, False)
        self._pid = 0

    def reboot(self) -> None:
        """Off and on again."""
        self.stop()
        self.start()

    def run(
        self, command: str | Sequence[str], *, stdin: str = "", seconds: float = 60
    ) -> subprocess.CompletedProcess[str]:
        """A line for its shell, or words, as root in /root there, without SSH. However it ends; see `ok`."""
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        # The folder is looked up before the root changes.
        enter = ["nsenter", f"--target={self._pid}", "--all", "--root", f"--wd={self.root}/root"]
        return subprocess.run(
            [*enter, *words],
            env=environment(self.spec),
            input=stdin,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=seconds,
        )

    def ok(self, command: str | Sequence[str], *, stdin: str = "", seconds: float = 60) -> str:
        """The same for what has to succeed; its standard output."""
        done = self.run(command, stdin=stdin, seconds=seconds)
        assert done.returncode == 0, f"{self.name}: {command}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def processes(self) -> list[Process]:
        """What runs there, its first process and daemons included."""
        return list(_processes(self._pid)) if self.on else []

    def busy(self) -> list[Process]:
        """What runs there beside the first process and its daemons with their own children: sessions, and leftovers."""
        all_of_it = self.processes()
        daemons = [one for one in all_of_it if one.parent == self._pid and self._is_daemon(one)]
        engines = _with_descendants(all_of_it, [one.pid for one in daemons if not _is(one, "sshd")])
        settled = {self._pid, *engines, *(one.pid for one in daemons)}
        return [one for one in all_of_it if one.pid not in settled]

    def kill_sessions(self) -> int:
        """Kills the sshd of every session, as if the connections broke; how many there were.

        What runs in the sessions is not killed, and neither is the sshd that listens.
        """
        ended = [one for one in self.busy() if _is(one, "sshd")]
        for one in ended:
            with suppress(ProcessLookupError):
                os.kill(one.pid, signal.SIGKILL)
        return len(ended)

    def _is_daemon(self, one: Process) -> bool:
        names = ["sshd", *(words[0] for words in DAEMONS.values())]
        return any(_is(one, name) for name in names)

    def _ready(self) -> bool:
        assert self.on, f"{self.name} is off"
        assert Path(f"/proc/{self._pid}/ns/net").exists(), f"{self.name} ended"
        engine = _SOCKETS.get(self.kind.engine)
        if engine is not None and not _answers(self.root / engine, self.kind.engine):
            return False
        return not self.kind.listens or _greets(self.spec.address)


def _processes(first: int) -> Iterator[Process]:
    namespace = Path(f"/proc/{first}/ns/pid").readlink()
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (path / "ns/pid").readlink() == namespace:
                words = (path / "cmdline").read_bytes().decode(errors="replace").split("\0")
                parent = int((path / "stat").read_text().rpartition(")")[2].split()[1])
                yield Process(int(path.name), parent, tuple(word for word in words if word))


def _with_descendants(processes: Sequence[Process], pids: Sequence[int]) -> set[int]:
    found, left = set[int](), list(pids)
    while left:
        pid = left.pop()
        found.add(pid)
        left += [one.pid for one in processes if one.parent == pid and one.pid not in found]
    return found


def _is(one: Process, program: str) -> bool:
    """By its words: they begin with the program, or with an emulator and the program; sshd's own titles count."""
    return any(Path(word.partition(":")[0]).name == program for word in one.words[:2])


def _answers(path: Path, engine: str) -> bool:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(5)
        with suppress(OSError):
            client.connect(str(path))
            if engine != "docker":
                return True
            client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
            return b" 200 " in client.recv(64)
    return False


def _greets(address: str) -> bool:
    with suppress(OSError):
        with socket.create_connection((address, 22), timeout=5) as client:
            return client.recv(4) == b"SSH-"
    return False
