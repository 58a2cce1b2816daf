"""What docker, podman, skopeo and polyarch do on bad networks, run here: `python -m support.network_peers` (as root).

A line for each, as the table of docs/trust.md has it: how a pull ended and after how many seconds; then, where it
failed, whether the next one, with the network whole again, fetched only what was missing.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

from polyarch.testing.layout_writer import LayoutWriter, regular
from support.command import NO_FILES_OF_THE_MACHINE
from support.docker_registry import DockerRegistry
from support.dockerd import Dockerd
from support.joined_networks import JoinedNetworks, Relay, random_cuts
from support.layout_files import Layout
from support.podman_engine import PodmanEngine
from support.processes import await_true

SIZE = 3_000_000
SECONDS = 300
NAME = "networks/peers:1"


@dataclass(frozen=True, slots=True)
class Case:
    """`begin` is done before the pull, `midway` once a third has come; `end` makes the network whole again."""

    begin: Callable[[JoinedNetworks], None] = lambda networks: None
    midway: Callable[[JoinedNetworks], None] | None = None
    end: Callable[[JoinedNetworks], None] = lambda networks: None
    cut: Callable[[], Callable[[], int | None]] = lambda: lambda: None


def _slow(networks: JoinedNetworks) -> None:
    networks.slow(SIZE // 15)


CASES: Mapping[str, Case] = {
    "slow": Case(_slow),
    "cut": Case(cut=lambda: lambda: 1_000_000),
    "cut-often": Case(cut=lambda: random_cuts(7, 20_000, 200_000)),
    "stalled": Case(_slow, JoinedNetworks.drop, JoinedNetworks.pass_again),
    "address-gone": Case(_slow, JoinedNetworks.gone, JoinedNetworks.back),
    "wire-down": Case(_slow, JoinedNetworks.unplug, JoinedNetworks.plug),
    "black-hole": Case(lambda networks: networks.drop("-p tcp --syn"), None, JoinedNetworks.pass_again),
    "lossy": Case(lambda networks: networks.lossy(0.05)),
}


def _docker(networks: JoinedNetworks, folder: Path) -> tuple[Sequence[str], Mapping[str, str], Callable[[], None]]:
    options = ["--insecure-registry=192.0.2.0/24", "--max-concurrent-downloads=3"]
    engine = Dockerd(folder / "dockerd", prefix=networks.enter, more=options)
    return ["docker", "pull"], engine.environ, engine.stop


def _podman(networks: JoinedNetworks, folder: Path) -> tuple[Sequence[str], Mapping[str, str], Callable[[], None]]:
    engine = PodmanEngine()
    return [*networks.enter, *engine.command, "pull", "--tls-verify=false"], {}, engine.stop


def _skopeo(networks: JoinedNetworks, folder: Path) -> tuple[Sequence[str], Mapping[str, str], Callable[[], None]]:
    words = ["sh", "-c", f"exec skopeo --insecure-policy copy --src-tls-verify=false docker://$0 oci:{folder}/layout:x"]
    return [*networks.enter, *words], {}, lambda: None


def _polyarch(networks: JoinedNetworks, folder: Path) -> tuple[Sequence[str], Mapping[str, str], Callable[[], None]]:
    words = [sys.executable, "-m", "polyarch", "--no-tls-verify", "--root", str(folder / "root"), "pull"]
    environ = {**NO_FILES_OF_THE_MACHINE, "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
    return [*networks.enter, *words], environ, lambda: None


CLIENTS = {"polyarch": _polyarch, "docker": _docker, "podman": _podman, "skopeo": _skopeo}


def _run(argv: Sequence[str], environ: Mapping[str, str], midway: Callable[[], None], log: Path) -> tuple[str, float]:
    started = monotonic()
    everything = {"PATH": os.environ["PATH"], "HOME": str(log.parent), "LANG": "C.UTF-8", **environ}
    with log.open("wb") as told:
        child = subprocess.Popen(argv, stdout=told, stderr=told, stdin=subprocess.DEVNULL, env=everything)
        try:
            midway()
            child.wait(SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
            return f"no end in {SECONDS} s", monotonic() - started
    return ("pulls" if child.returncode == 0 else "fails"), monotonic() - started


def _case(client: str, name: str, registry: DockerRegistry) -> str:
    case, networks = CASES[name], JoinedNetworks()
    with tempfile.TemporaryDirectory(prefix="network-peers-") as place:
        folder = Path(place)
        relay = Relay(networks.listen(), registry.address, case.cut())
        argv, environ, stop = CLIENTS[client](networks, folder)
        try:
            case.begin(networks)

            def midway() -> None:
                if case.midway is not None:
                    await_true(lambda: relay.passed > SIZE // 3, "a third has come")
                    case.midway(networks)

            ended, seconds = _run([*argv, relay.ref(NAME)], environ, midway, folder / "log")
            said = (
                f"{client} {name}: {ended} after {seconds:.0f} s, {relay.connections} connections, {relay.passed} bytes"
            )
            said += " | " + " / ".join((folder / "log").read_text(errors="replace").strip().splitlines()[-2:])[-300:]
            if ended != "pulls":
                case.end(networks)
                before = relay.passed
                ended, seconds = _run([*argv, relay.ref(NAME)], environ, lambda: None, folder / "log")
                said += f" | next: {ended} after {seconds:.0f} s, {relay.passed - before} bytes"
        finally:
            stop()
            relay.stop()
            networks.stop()
    return said


def main(wanted: Sequence[str]) -> None:
    """All, or the clients and cases whose names are given."""
    with tempfile.TemporaryDirectory(prefix="network-registry-") as place, ThreadPoolExecutor(8) as pool:
        writer = LayoutWriter(Path(place) / "layout")
        layers = [writer.layer([regular("bulk", random.Random(9).randbytes(SIZE))], "bulk")]
        writer.name(NAME, writer.image({"os": "linux", "architecture": "amd64"}, layers))
        writer.finish()
        registry = DockerRegistry(Path(place) / "registry")
        try:
            registry.fill(Layout(writer.directory))
            running = [
                pool.submit(_case, client, name, registry)
                for client in CLIENTS
                if not set(wanted) & set(CLIENTS) or client in wanted
                for name in CASES
                if not set(wanted) & set(CASES) or name in wanted
            ]
            for each in running:
                try:
                    print(each.result(), flush=True)
                except Exception as error:
                    print(f"failed: {error}", flush=True)
        finally:
            registry.stop()


if __name__ == "__main__":
    main(sys.argv[1:])
