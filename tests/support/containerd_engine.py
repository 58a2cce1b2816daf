"""containerd for tests: Debian's, with folders and a socket of its own, and without the plugin for Kubernetes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from support.podman_engine import remove, unmount
from support.processes import Server, await_true

_DISABLED = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]


class ContainerdEngine:
    """A running containerd. `data` is where its content lies: another folder than its own, if given.

    It lives in a mount namespace with a /run of its own, so that nothing of it is left. `prefix` are words in front of
    its own. With `kubernetes` it keeps the namespace k8s.io as a node of a cluster does.
    """

    def __init__(self, *, data: Path | None = None, kubernetes: bool = False, prefix: Sequence[str] = ()) -> None:
        if os.geteuid() != 0:
            pytest.skip("only root can start containerd")
        for program in ("containerd", "ctr"):
            if shutil.which(program) is None:
                pytest.skip(f"the program {program} is not installed")
        # A socket's path has at most 107 bytes, and the shims' are long.
        self.folder = Path(tempfile.mkdtemp(prefix="containerd-", dir="/var/tmp"))
        self.data = data or self.folder / "data"
        self.socket = self.folder / "containerd.sock"
        self._kubernetes = kubernetes
        self._prefix = prefix
        self.start()

    def start(self) -> None:
        """Start it, also again over the same content."""
        disabled = _DISABLED[1:] if self._kubernetes else _DISABLED
        settings = self.folder / "config.toml"
        settings.write_text(
            f"""
            version = 2
            root = "{self.data}"
            state = "{self.folder}/state"
            disabled_plugins = {json.dumps(disabled)}
            [grpc]
            address = "{self.socket}"
            [ttrpc]
            address = "{self.folder}/ttrpc.sock"
            """
        )
        # Its shims keep their sockets below /run, whatever the settings say.
        alone = ["unshare", "--mount", "sh", "-c", 'mount -t tmpfs none /run && exec "$@"', "sh"]
        argv = [*self._prefix, *alone, "containerd", "--config", str(settings)]
        self._server = Server(argv, self.folder / "log", self._answers)

    def _answers(self) -> bool:
        return self.try_ctr("version").returncode == 0

    @property
    def environ(self) -> dict[str, str]:
        """What tells polyarch and `ctr` where it is."""
        return {"CONTAINERD_ADDRESS": str(self.socket)}

    def ctr(self, *arguments: str) -> str:
        """Runs containerd's own command; its standard output. AssertionError where it fails."""
        done = self.try_ctr(*arguments)
        assert done.returncode == 0, f"ctr {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def try_ctr(self, *arguments: str, prefix: Sequence[str] = ()) -> subprocess.CompletedProcess[str]:
        """Runs containerd's own command, however it ends."""
        environment = {"PATH": os.environ["PATH"], **self.environ}
        argv = [*prefix, "ctr", *arguments]
        return subprocess.run(argv, capture_output=True, text=True, timeout=120, env=environment)

    def images(self) -> dict[str, str]:
        """Its names, as `ctr images ls` lists them, and the digests that they point at."""
        lines = self.ctr("images", "ls").splitlines()[1:]
        return {line.split()[0]: line.split()[2] for line in lines}

    def blobs(self) -> set[str]:
        """The digests of its store's blobs."""
        return set(self.ctr("content", "ls", "--quiet").split())

    def clear(self) -> None:
        """Remove every image, and wait until its garbage is collected."""
        if names := list(self.images()):
            self.ctr("images", "rm", "--sync", *names)

    def stop(self) -> None:
        """End it and what it started, and take away what it left."""
        self.end()
        if self.data.exists():
            unmount(self.data)
        remove(self.folder)

    def end(self) -> None:
        """End it and its shims; the content stays."""
        self._server.stop()
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                is_shim = b"containerd-shim" in path.read_bytes() and os.fsencode(self.socket) in path.read_bytes()
            except OSError:
                continue
            if is_shim:
                os.kill(int(path.parent.name), signal.SIGKILL)
                await_true(lambda path=path: not path.exists(), "a shim ends")  # type: ignore[misc]
