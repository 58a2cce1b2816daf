"""The OCI runtime: which one is here, how it is called, and what its failures mean."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

from polyarch.container.failures import CannotExecute, ProgramNotFound
from polyarch.errors import HostError, PolyarchError, printable
from polyarch.files import program
from polyarch_platforms.lazy_dataclass import dataclass

_FOLDERS = "/usr/sbin:/sbin:/usr/local/sbin"  # an ordinary user's PATH may lack them
_MAX_LOG = 1 << 16

# Words in the runtimes' messages: crun, src/libcrun/utils.c and container.c; runc, libcontainer. docker sorts the
# same way (docker/cli, cli/command/container/run.go, toStatusError).
_NOT_FOUND = re.compile(r"not found|no such file or directory|cannot find", re.IGNORECASE)
_NOT_EXECUTABLE = re.compile(r"permission denied|is a directory|exec format error", re.IGNORECASE)
_OF_PROGRAM = re.compile(r"exec|executable|starting container process", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Runtime:
    """crun or runc, by its full path."""

    name: Literal["crun", "runc"]
    path: str

    @property
    def hands_console_over(self) -> bool:
        """Whether it gives a terminal to somebody else and waits nevertheless; runc serves it itself, and well."""
        return self.name == "crun"

    def run(
        self, bundle: Path, identifier: str, log: Path, state: Path, console: Path | None, *, cgroups: bool
    ) -> list[str]:
        """The words that run the bundle in the foreground; what the runtime itself complains of goes into `log`.

        `console` is the socket for the container's terminal.
        """
        return [*self._common(log, state, cgroups), "run", "--bundle", str(bundle), *_socket(console), identifier]

    def exec(
        self, process: Path, identifier: str, log: Path, state: Path, console: Path | None, *, cgroups: bool
    ) -> list[str]:
        """The words that start one more process, as the file `process` says, in a container that runs."""
        words = ["exec", "--process", str(process), *_socket(console), identifier]
        return [*self._common(log, state, cgroups), *words]

    def _common(self, log: Path, state: Path, cgroups: bool) -> list[str]:
        manager = [] if cgroups or self.name != "crun" else ["--cgroup-manager=disabled"]
        return [self.path, "--root", str(state), "--log", str(log), "--log-format", "json", *manager]


def _socket(console: Path | None) -> list[str]:
    return ["--console-socket", str(console)] if console else []


def find_runtime(wanted: Literal["auto", "crun", "runc"] = "auto") -> Runtime:
    """The runtime of the settings, crun before runc. Raises HostError if there is none."""
    names: tuple[Literal["crun", "runc"], ...] = ("crun", "runc") if wanted == "auto" else (wanted,)
    for name in names:
        path = program(name) or program(name, _FOLDERS)
        if path:
            return Runtime(name, path)
    raise HostError(f"no OCI runtime here: {' or '.join(names)} is needed", f"apt install {names[0]}")


def complaint(log: Path, program: str) -> PolyarchError | None:
    """What the runtime wrote to its log as an error: why `program` did not start. None if it did.

    ProgramNotFound (exit code 127), CannotExecute (126) or HostError.
    """
    message = _last_error(log)
    if message is None:
        return None
    shown = printable(message, 400)
    if _OF_PROGRAM.search(message) or program in message:
        if _NOT_FOUND.search(message):
            return ProgramNotFound(f"'{printable(program, 200)}' cannot be started: {shown}")
        if _NOT_EXECUTABLE.search(message):
            return CannotExecute(f"'{printable(program, 200)}' cannot be executed: {shown}")
    return HostError(f"the container cannot be started: {shown}")


def _last_error(log: Path) -> str | None:
    try:
        with log.open("rb") as stream:
            lines = stream.read(_MAX_LOG).decode("utf-8", "replace").splitlines()
    except OSError:
        return None
    found = None
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and record.get("level") in ("error", "fatal"):
            found = str(record.get("msg", ""))
    return found


def process_in(runtime: Runtime, state: Path, identifier: str) -> int:
    """The process ID of a container's program, as it is in the runtime's own namespaces: called there.

    Raises HostError.
    """
    import subprocess

    words = [runtime.path, "--root", str(state), "state", identifier]
    done = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    try:
        pid = int(json.loads(done.stdout)["pid"])
    except (ValueError, TypeError, KeyError):
        pid = 0
    if pid <= 0:
        said = printable(done.stderr.strip() or "it knows no process", 300)
        raise HostError(f"{runtime.name} does not tell where the container {identifier[:12]} runs: {said}")
    return pid
