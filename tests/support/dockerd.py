"""A docker engine for tests: Debian's dockerd, with folders, a socket and a containerd of its own."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any

import pytest

from support.processes import Server, await_true


class Dockerd:
    """A running engine without networks. `data` is where its content lies, if not below `folder`.

    It lives in a mount namespace of its own, so that no mount of it is left; control groups below a parent of its own.
    `prefix` are words that start it, such as `polyarch emulate --`; `more` are further options.
    """

    def __init__(
        self, folder: Path, *, data: Path | None = None, prefix: Sequence[str] = (), more: Sequence[str] = ()
    ) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can start a docker engine")
        for program in ("dockerd", "docker", "containerd"):
            if shutil.which(program) is None:
                pytest.skip(f"the program {program} is not installed")
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        # The paths of its sockets must not be long (unix(7): 108 bytes).
        self._run = Path(tempfile.mkdtemp(prefix="dockerd-"))
        self.socket = self._run / "docker.sock"
        self.data = data or folder / "data"
        self._prefix, self._more = prefix, more
        self._home = folder / "home"
        self._home.mkdir(exist_ok=True)
        self._group = f"polyarch-tests-{os.getpid()}-{folder.name}"
        try:
            self._start()
        except BaseException:
            shutil.rmtree(self._run)
            raise

    def _start(self) -> None:
        options = {
            "--data-root": self.data,
            "--exec-root": self._run / "exec",
            "--pidfile": self.folder / "docker.pid",
            "--host": f"unix://{self.socket}",
            "--group": str(os.getegid()),
            "--bridge": "none",
            "--cgroup-parent": f"/{self._group}",
        }
        argv = [*self._prefix, "unshare", "--mount", "dockerd", *(f"{name}={value}" for name, value in options.items())]
        argv += [f"--{name}=false" for name in ("iptables", "ip6tables", "ip-forward", "ip-masq", "userland-proxy")]
        argv += self._more
        self._server = Server(argv, self.folder / "log", self._answers)

    def stop(self) -> None:
        """End it, its containers and its containerd; its content stays."""
        if self._answers():
            for name in self.docker("ps", "--quiet", "--all").split():
                self.docker("rm", "--force", "--volumes", name)
        self._server.stop()
        with contextlib.suppress(OSError, ValueError):  # dockerd ends its containerd, unless it was killed
            helper = int((self._run / "exec" / "containerd" / "containerd.pid").read_text())
            if os.fsencode(self._run) in Path(f"/proc/{helper}/cmdline").read_bytes():
                os.kill(helper, signal.SIGTERM)
                await_true(lambda: not Path(f"/proc/{helper}").exists(), "containerd ends")
        for parent in Path("/sys/fs/cgroup").glob(f"*/{self._group}"):
            for group in sorted(parent.rglob("*/"), reverse=True):
                group.rmdir()
            parent.rmdir()
        shutil.rmtree(self._run, ignore_errors=True)

    @property
    def environ(self) -> dict[str, str]:
        """What tells clients where it is."""
        return {"DOCKER_HOST": f"unix://{self.socket}"}

    def docker(self, *arguments: str) -> str:
        """Runs docker's own command; its standard output. AssertionError where it fails."""
        done = self.try_docker(*arguments)
        assert done.returncode == 0, f"docker {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def try_docker(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs docker's own command, however it ends."""
        environment = {"PATH": os.environ["PATH"], "HOME": str(self._home), **self.environ}
        return subprocess.run(["docker", *arguments], capture_output=True, text=True, timeout=120, env=environment)

    def images(self) -> dict[str, str]:
        """Its names, as docker lists them, and their images' IDs; `<none>:<none>` for one that has no name."""
        listed = self.docker("image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").split("\n")
        return dict(line.split(" ") for line in listed if line)  # type: ignore[misc]

    def identifiers(self) -> set[str]:
        """The IDs of all its images, named or not."""
        return set(self.docker("image", "ls", "--quiet", "--all", "--no-trunc").split())

    def inspect(self, name: str) -> dict[str, Any]:
        """What docker tells of an image."""
        described: dict[str, Any] = json.loads(self.docker("image", "inspect", name))[0]
        return described

    def clear(self) -> None:
        """Remove every image."""
        for image in self.identifiers():
            self.try_docker("image", "rm", "--force", image)

    def _answers(self) -> bool:
        with _connection(self.socket) as connection:
            try:
                connection.request("GET", "/_ping")
                return connection.getresponse().status == 200
            except (OSError, HTTPException):
                return False


@contextlib.contextmanager
def _connection(path: Path) -> Iterator[HTTPConnection]:
    connection = HTTPConnection("localhost")
    with contextlib.suppress(OSError):
        connection.sock = socket(AF_UNIX)
        connection.sock.settimeout(10)
        connection.sock.connect(str(path))
    try:
        yield connection
    finally:
        connection.close()
