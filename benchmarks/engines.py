"""The peers that run containers: podman, docker and bare crun, each with folders, settings and, where it needs one, a
daemon of its own, so that the machine's stay as they are. All of it takes root.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.process import BenchmarkError, measured
from benchmarks.programs import program
from benchmarks.registry import await_true

# Where systemd mounts version 2 beside version 1 ("hybrid"). crun refuses that, unless version 2 has no controllers.
_UNIFIED = Path("/sys/fs/cgroup/unified")
# podman asks for more open files and processes than some machines let even root have.
_LIMITS = '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]\n'


@dataclass(frozen=True, slots=True)
class Daemon:
    """A running daemon: where it listens, and its process."""

    socket: Path
    pid: int


@dataclass(frozen=True, slots=True)
class Engine:
    """A peer: the words before `run`, what the image is called there, and the process of its daemon, if it has one."""

    words: tuple[str, ...]
    image: str
    daemons: tuple[int, ...] = ()

    def run(self, *options: str) -> list[str]:
        """The words that start `true` in a container that is removed at its end."""
        return [*self.words, "run", "--rm", *options, self.image, "true"]


def one_version() -> tuple[str, ...]:
    """The words in front of what starts crun, where control groups of both versions would make it refuse."""
    if not _UNIFIED.is_dir():
        return ()
    script = f'mount -t tmpfs none {_UNIFIED} && exec "$@"'
    return (program("unshare"), "--mount", "sh", "-c", script, "sh")


def podman(folder: Path, reference: str, environment: Mapping[str, str]) -> Engine:
    """podman with crun, and the image in a storage of its own below `folder`."""
    words = (*one_version(), *podman_words(folder, folder))
    measured([*words, "pull", "--quiet", "--tls-verify=false", reference], environment)
    return Engine(words, reference)


def podman_words(folder: Path, run: Path, groups: str = "") -> tuple[str, ...]:
    """The words that start podman with its storage and settings below `folder`, and what lives shorter in `run`.

    That is a path of at most 50 characters (podman: "the specified runroot is longer than 50 characters"). `groups` is
    who makes control groups (containers.conf(5): cgroup_manager), else podman's own choice.
    """
    settings = folder / "containers.conf"
    manager = f'cgroup_manager = "{groups}"\nevents_logger = "file"\n' if groups else ""
    settings.write_text(f'{_LIMITS}[engine]\n{manager}tmp_dir = "{run}/tmp"\n')
    own = ("--root", str(folder / "podman"), "--runroot", str(run / "run"), "--runtime", program("crun"))
    return ("env", f"CONTAINERS_CONF={settings}", program("podman"), *own)


@contextmanager
def containerd(folder: Path, environment: Mapping[str, str]) -> Iterator[Daemon]:
    """A daemon with its content in `folder`, in a mount namespace with a /run of its own."""
    log, settings = folder / "containerd.log", folder / "containerd.toml"
    # The paths of its sockets must not be long (unix(7): 108 bytes).
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as run, log.open("wb") as output:
        socket = Path(run, "containerd.sock")
        settings.write_text(
            f'version = 2\nroot = "{folder}/containerd"\nstate = "{run}/state"\n'
            'disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt"]\n'
            f'[grpc]\naddress = "{socket}"\n[ttrpc]\naddress = "{run}/ttrpc.sock"\n'
        )
        script = 'mount -t tmpfs none /run && exec "$@"'
        words = (program("unshare"), "--mount", "sh", "-c", script, "sh", program("containerd"), "--config", settings)
        daemon = subprocess.Popen(words, stdout=output, stderr=output, env=dict(environment))
        try:
            client = (program("ctr"), "--address", str(socket))
            await_true(
                lambda: daemon.poll() is not None or _answers(client, environment),
                f"containerd does not start; see {log}",
            )
            yield Daemon(socket, daemon.pid)
        finally:
            daemon.terminate()
            daemon.wait()


@contextmanager
def docker(folder: Path, reference: str, environment: Mapping[str, str]) -> Iterator[Engine | None]:
    """docker with a daemon in network and mount namespaces of its own; None where there is no dockerd."""
    if shutil.which("dockerd") is None:
        yield None
        return
    archive, name = folder / "image.tar", "benchmark:1"
    source = ("--insecure-policy", "copy", "--quiet", "--src-tls-verify=false", f"docker://{reference}")
    measured([program("skopeo"), *source, f"docker-archive:{archive}:{name}"], environment)
    with dockerd(folder, environment, alone=True) as daemon:
        client = (program("docker"), "--host", f"unix://{daemon.socket}")
        measured([*client, "load", "--quiet", "--input", archive], environment)
        yield Engine(client, name, (daemon.pid,))


@contextmanager
def dockerd(folder: Path, environment: Mapping[str, str], *, alone: bool) -> Iterator[Daemon]:
    """A daemon with its content in `folder`, in a mount namespace; `alone`: in one of networks, too."""
    log = folder / "dockerd.log"
    # The paths of its sockets must not be long (unix(7): 108 bytes).
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as run, log.open("wb") as output:
        socket = Path(run, "docker.sock")
        options = {"--data-root": folder / "docker", "--exec-root": f"{run}/exec", "--pidfile": f"{run}/docker.pid"}
        own = [f"{name}={value}" for name, value in options.items()]
        own += [f"--host=unix://{socket}", "--iptables=false", "--ip6tables=false"]
        own += [] if alone else ["--bridge=none", "--ip-forward=false"]
        script = 'ip link set lo up && exec "$@"' if alone else 'exec "$@"'
        namespaces = ("--net", "--mount") if alone else ("--mount",)
        words = (program("unshare"), *namespaces, "sh", "-c", script, "sh", program("dockerd"), *own)
        daemon = subprocess.Popen(words, stdout=output, stderr=output, env=dict(environment))
        try:
            client = (program("docker"), "--host", f"unix://{socket}")
            await_true(
                lambda: daemon.poll() is not None or _answers(client, environment), f"dockerd does not start; see {log}"
            )
            yield Daemon(socket, daemon.pid)
        finally:
            daemon.terminate()
            daemon.wait()


def _answers(client: Sequence[str], environment: Mapping[str, str]) -> bool:
    try:
        measured([*client, "version"], environment)
    except BenchmarkError:
        return False
    return True


def crun(bundle: Path) -> list[str]:
    """The words that start `true` by crun alone, in `bundle`, which has a `rootfs`; in the host's network."""
    (bundle / "config.json").write_text(json.dumps(spec_for(program("crun"))))
    return [*one_version(), program("crun"), "run", "--bundle", str(bundle), "polyarch-benchmark"]


def spec_for(runtime: str) -> dict[str, Any]:
    """What an OCI runtime takes as the usual, for `true` in the host's network (OCI runtime-spec, config.md)."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([runtime, "spec"], cwd=folder, check=True)
        spec: dict[str, Any] = json.loads(Path(folder, "config.json").read_text())
    spec["process"].update(terminal=False, args=["true"])
    spec["linux"]["namespaces"] = [each for each in spec["linux"]["namespaces"] if each["type"] != "network"]
    return spec
