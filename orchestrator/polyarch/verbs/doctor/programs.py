"""Programs that polyarch starts, and engines that are here beside it."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

from polyarch.container.request import RunRequest, Words
from polyarch.container.runtime import Runtime, find_runtime
from polyarch.container.seccomp import PACKAGE
from polyarch.container.walls import walls_of
from polyarch.errors import HostError, UsageError
from polyarch.settings import Settings
from polyarch.verbs.doctor.check import Check, Mend, apt_install, refused
from polyarch_platforms.lazy_dataclass import dataclass

Version = tuple[int, ...]

_SECONDS = 5.0
_ADMIN = "/usr/sbin:/sbin:/usr/local/sbin"  # an ordinary user's PATH may lack them
_VERSION = re.compile(r"\b(\d+)\.(\d+)(?:\.(\d+))?")

# crun 1.6 does not start some containers in user namespaces (containers/crun, issue 1019; 1.7 does).
_KNOWN_BAD = (("crun", (1, 6), (1, 7), "does not start some containers in user namespaces"),)


def runtime(settings: Settings) -> Check:
    """The OCI runtime that containers are started with, itself started."""
    name = "OCI runtime"
    try:
        found = find_runtime(settings.runtime)
    except HostError as error:
        return refused(name, error, essential=True)
    said, reason = _version_of(found.path)
    return judge_runtime(found, said, reason)


def judge_runtime(found: Runtime, said: str, reason: str | None) -> Check:
    """The check of a runtime, by what `--version` said and why it did not."""
    name = "OCI runtime"
    if reason:
        mend = Mend(f"apt install --reinstall {found.name}", as_root=True)
        return Check(name, "failed", f"{found.path} cannot be started: {reason}", mend, essential=True)
    version = _number(said)
    shown = ".".join(map(str, version)) if version else "of unknown version"
    for program, first, fixed, what in _KNOWN_BAD:
        if version and found.name == program and first <= version < fixed:
            return Check(name, "warning", f"{program} {shown} {what}", apt_install(program))
    return Check(name, "ok", f"{found.name} {shown} at {found.path}")


def system_calls(settings: Settings) -> Check:
    """Whether containers get a filter of system calls, and by which profile."""
    name = "system calls"
    try:
        walls = walls_of(RunRequest(), Words((), {}), find_runtime(settings.runtime))
    except HostError:
        return Check(name, "skipped", "a filter needs an OCI runtime")
    except UsageError as error:
        return refused(name, error)
    if walls.profile is None:
        mend = apt_install(PACKAGE) if PACKAGE in walls.warning else None
        return Check(name, "warning", walls.warning, mend)
    return Check(name, "ok", f"filtered by {walls.profile.origin}")


def _number(said: str) -> Version:
    match = _VERSION.search(said)
    return tuple(int(part) for part in match.groups() if part is not None) if match else ()


def _version_of(path: str) -> tuple[str, str | None]:
    """The first line that `--version` prints, and why there is none."""
    try:
        done = subprocess.run(
            [path, "--version"], stdin=subprocess.DEVNULL, capture_output=True, timeout=_SECONDS, check=False
        )
    except OSError as error:
        return "", error.strerror or str(error)
    except subprocess.TimeoutExpired:
        return "", f"it does not answer within {_SECONDS:.0f} seconds"
    lines = done.stdout.decode(errors="replace").splitlines()
    if done.returncode == 0 and lines:
        return lines[0], None
    complaints = done.stderr.decode(errors="replace").strip().splitlines()
    return "", complaints[-1] if complaints else f"it ended with {done.returncode}"


@dataclass(frozen=True, slots=True)
class _Engine:
    """A program, where its daemon listens, and whether that speaks HTTP; () where there needs to be none."""

    program: str
    sockets: tuple[str, ...] = ()
    http: bool = False


_ENGINES = (
    _Engine("docker", ("/run/docker.sock",), http=True),
    _Engine("podman"),
    _Engine("ctr", ("/run/containerd/containerd.sock",)),
    _Engine("k3s", ("/run/k3s/containerd/containerd.sock",)),
)


def engines(settings: Settings) -> Iterator[Check]:
    """docker, podman, containerd and k3s, as far as they are here; none is needed."""
    found = False
    for engine in _ENGINES:
        path = shutil.which(engine.program) or shutil.which(engine.program, path=_ADMIN)
        if not path:
            continue
        found = True
        said, reason = _version_of(path)
        version = "(does not start)" if reason else ".".join(map(str, _number(said)))
        sockets = engine.sockets
        if engine.program == "ctr" and (address := settings.environ.get("CONTAINERD_ADDRESS")):
            sockets = (address.removeprefix("unix://"),)
        given = settings.environ.get("DOCKER_HOST", "")
        if engine.program == "docker" and given:
            if not given.startswith("unix://"):
                yield Check("engine", "ok", f"docker {version}, its daemon at {given}")
                continue
            sockets = (given.removeprefix("unix://"),)
        daemon = "; ".join(_answer(place, http=engine.http) for place in sockets)
        yield Check("engine", "ok", f"{engine.program} {version}" + (f"; {daemon}" if daemon else ""))
    if not found:
        yield Check("engine", "ok", "no docker, podman, containerd or k3s here; polyarch needs none")


def _answer(place: str, *, http: bool) -> str:
    """Whether a daemon answers at a unix socket, in words."""
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(_SECONDS)
            client.connect(place)
            if http:
                client.sendall(b"GET /_ping HTTP/1.0\r\n\r\n")
                if not client.recv(12).startswith(b"HTTP/1."):
                    return f"what answers at {place} is no {Path(place).stem} daemon"
    except FileNotFoundError:
        return "its daemon does not run"
    except PermissionError:
        return f"its daemon is closed to this user ({place})"
    except OSError as error:
        return f"its daemon does not answer ({os.strerror(error.errno) if error.errno else 'too late'})"
    return "its daemon answers"
