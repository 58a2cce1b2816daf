"""One more program in a container that runs."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from polyarch.container.failures import CannotExecute
from polyarch.container.foreground import terminal_size, to_its_end
from polyarch.container.id_maps import IdMaps
from polyarch.container.launch import Launch
from polyarch.container.own_dev import own_nothing
from polyarch.container.programs import check_program, explicit_args
from polyarch.container.record import Record
from polyarch.container.request import ExecRequest, check_terminal, parse_environment
from polyarch.container.runtime import Runtime, find_runtime
from polyarch.container.spec import EMULATOR, capabilities_of, console_size, write_spec
from polyarch.container.users import user_inside
from polyarch.errors import StorageError, UsageError, printable
from polyarch.files import read_bounded
from polyarch.unpack.beneath import Root
from polyarch_platforms.lazy_dataclass import dataclass

_MAX_SPEC = 8 << 20


def exec_in_container(request: ExecRequest, record: Record, directory: Path, maps: IdMaps | None) -> int:
    """Start a program in the container, on this process's input and output, and wait for it; its exit code.

    It gets the container's variables, user and working directory where the request has none; `maps` are the IDs of
    the containers' user namespace. When this process is killed, the program goes on, as with docker.

    Raises UsageError: the container does not run; HostError; ProgramNotFound (exit code 127), CannotExecute (126).
    """
    if record.status != "running" or not record.pid:
        raise UsageError(f"the container {record.name} does not run", "see: polyarch ps -a")
    check_terminal(request.tty)
    if record.runtime == "none":
        raise UsageError(f"the container {record.name} was started without a runtime: nothing more starts in it")
    variables = parse_environment(request)
    runtime = find_runtime(record.runtime)
    try:
        spec = json.loads(read_bounded(directory / "config.json", _MAX_SPEC))
        place = tempfile.TemporaryDirectory(prefix="exec-", dir=directory, ignore_cleanup_errors=True)
    except (OSError, ValueError) as error:
        raise StorageError(f"the container {record.name} cannot be read: {error}") from error
    with place as name:
        return _Exec(request, record, directory, Path(name), maps, variables, runtime, spec).to_its_end()


@dataclass(frozen=True, slots=True)
class _Exec:
    request: ExecRequest
    record: Record
    directory: Path
    place: Path
    maps: IdMaps | None
    variables: dict[str, str]
    runtime: Runtime
    spec: dict[str, Any]

    def to_its_end(self) -> int:
        return to_its_end(self.request, self.runtime, self.place, self.request.argv[0], self._launch)

    def _launch(
        self, files: dict[int, int], console: Path | None, *, own_group: bool, resized: Callable[[], None]
    ) -> Launch:
        command = partial(self._command, files, console)
        return Launch(command, joined=self.record.pid, own_group=own_group, resized=resized)

    def _command(self, files: dict[int, int], console: Path | None) -> Sequence[str]:
        """In the container's outer namespaces: the process, written, and the words that start the runtime."""
        write_spec(self.place / "process.json", self._process())
        for number, file in files.items():
            os.dup2(file, number)
        own_nothing()  # no runtime does that for a further program
        return self.runtime.exec(
            self.place / "process.json",
            self.record.id,
            self.place / "log",
            self.directory / "runtime",
            console,
            cgroups=bool(self.spec["linux"].get("cgroupsPath")),
        )

    def _process(self) -> dict[str, object]:
        """The process of the runtime-spec (config.md, "Process"): the container's own, with the user's words."""
        request, own = self.request, self.spec["process"]
        rootfs = Root(self.directory / "rootfs")
        environment = dict(line.partition("=")[::2] for line in own["env"])
        changed: dict[str, object] = {}
        if request.user:
            user = user_inside(request.user, rootfs, self.maps)
            environment["HOME"] = user.home
            changed["user"] = {"uid": user.uid, "gid": user.gid, "additionalGids": list(user.groups)}
            changed["capabilities"] = capabilities_of(own["capabilities"]["bounding"], user)
        if request.tty:
            environment.setdefault("TERM", "xterm")
            size = terminal_size()
            changed["consoleSize"] = console_size(size) if size else None
        environment |= self.variables
        workdir = request.workdir or own["cwd"]
        targets = [mount["destination"] for mount in self.spec["mounts"]]
        if request.workdir and not any(f"{workdir}/".startswith(f"{target}/") for target in targets):
            _check_workdir(workdir, rootfs)
        volumes = [mount["destination"] for mount in self.spec["mounts"] if "rbind" in mount["options"]]
        program = check_program(request.argv, environment["PATH"], workdir, rootfs, volumes=volumes)
        args = explicit_args(request.argv, program) if EMULATOR in targets else request.argv
        changed |= {
            "args": list(args),
            "env": [f"{name}={value}" for name, value in environment.items()],
            "cwd": workdir,
            "terminal": request.tty,
        }
        return {key: value for key, value in {**own, **changed}.items() if value is not None}


def _check_workdir(workdir: str, rootfs: Root) -> None:
    """Raises CannotExecute: unlike the container's own, it is not made."""
    shown = printable(workdir, 200)
    try:
        _, _, status = rootfs.resolve(os.fsencode(workdir))
    except OSError as error:
        raise CannotExecute(f"the working directory {shown} cannot be used: {error.strerror}") from error
    if not stat.S_ISDIR(status.st_mode):
        raise CannotExecute(f"the working directory {shown} cannot be used: it is no directory")
