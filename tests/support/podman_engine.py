"""podman for tests: the real program, with settings and folders of its own."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from support.processes import Server, await_true
from support.users import OrdinaryUser


class PodmanEngine:
    """podman of root, or of `user`. `data` is where its images lie: another folder than its own, if given.

    `stop` takes away all that it left: containers, its service, mounts, folders.
    """

    def __init__(self, user: OrdinaryUser | None = None, *, data: Path | None = None) -> None:
        if shutil.which("podman") is None:
            pytest.skip("the program podman is not installed")
        if user is None and os.geteuid() != 0:
            pytest.skip("podman with folders of root's takes root")
        self.user = user
        # Longer paths make podman 4.3 wait 20 s for each container's end.
        self.folder = Path(tempfile.mkdtemp(prefix="podman-", dir="/var/tmp"))
        self.data = data or self.folder / "root"
        self.socket = self.folder / "podman.sock"
        self._service: Server | None = None
        settings = self.folder / "containers.conf"
        settings.write_text(
            f"""
            [containers]
            default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
            [engine]
            cgroup_manager = "cgroupfs"
            events_logger = "file"
            lock_type = "file"
            tmp_dir = "{self.folder}/tmp"
            """
        )
        settings.chmod(0o644)
        self.environ = {
            "CONTAINERS_CONF": str(settings),
            "XDG_RUNTIME_DIR": str(self.folder / "runtime"),
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder),
        }
        for name in ("runtime", "home"):
            (self.folder / name).mkdir(mode=0o700)
        if user:
            for path in (self.folder, *self.folder.iterdir()):
                os.chown(path, user.uid, user.gid)
        own = ("--root", str(self.data), "--runroot", str(self.folder / "run"))
        self.command = ("env", *(f"{key}={value}" for key, value in self.environ.items()), "podman", *own)

    @property
    def settings(self) -> str:
        """polyarch's settings that name it."""
        return f"[options.podman]\ncommand = {json.dumps(list(self.command))}\n"

    def serve(self) -> Path:
        """Start its service, once; the socket."""
        if self._service is None:
            argv = [*self.command, "system", "service", "--time", "0", f"unix://{self.socket}"]
            self._service = Server(argv, self.folder / "service.log", self.socket.exists)
        return self.socket

    def podman(self, *arguments: str) -> str:
        """Runs its own command; the standard output. AssertionError where it fails."""
        done = self.try_podman(*arguments)
        assert done.returncode == 0, f"podman {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def try_podman(self, *arguments: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Runs its own command, however it ends."""
        argv = [*prefix, *self.command, *arguments]
        if self.user:
            return self.user.run(argv)
        environment = {"PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, env=environment)

    def images(self) -> dict[str, str]:
        """Its names, as podman lists them, and their images' IDs."""
        listed = self.podman("image", "ls", "--no-trunc", "--format", "{{.Repository}}:{{.Tag}} {{.ID}}").split("\n")
        return dict(line.split(" ") for line in listed if line)  # type: ignore[misc]

    def inspect(self, name: str) -> dict[str, Any]:
        """What podman tells of an image."""
        described: dict[str, Any] = json.loads(self.podman("image", "inspect", name))[0]
        return described

    def clear(self) -> None:
        """Remove every image."""
        self.podman("image", "rm", "--all", "--force")

    def stop(self) -> None:
        """End it, and take away what it left."""
        if self._service is not None:
            self._service.stop()
        self.try_podman("container", "rm", "--all", "--force", "--time", "0")
        for path in self.folder.rglob("pause.pid"):  # an ordinary user's namespace is held open by a process
            os.kill(int(path.read_text()), signal.SIGTERM)
        remove(self.folder)
        if self.data.exists():
            unmount(self.data)


def remove(folder: Path) -> None:
    """Takes a folder away, with what is mounted in it."""
    unmount(folder)
    shutil.rmtree(folder)
    await_true(lambda: not folder.exists(), f"{folder} is gone")


def unmount(folder: Path) -> None:
    """Takes away what is mounted in a folder, and on it only where that is the folder of an engine."""
    mounted = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for path in sorted((path for path in mounted if path.startswith(f"{folder}/")), reverse=True):
        subprocess.run(["umount", "--lazy", path], check=True)
