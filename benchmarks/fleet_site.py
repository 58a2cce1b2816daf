"""Where fleets are measured: real devices in namespaces of this machine, and the registry that their images come from,
in a network namespace of its own, so that its link can be as slow as wanted. It takes root.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.bench import COMMAND
from benchmarks.process import BenchmarkError
from benchmarks.programs import program
from benchmarks.registry import Origin, await_true, served

if TYPE_CHECKING:
    from support.fleet_lab import Device, Lab

CHECKOUT = Path(__file__).resolve().parent.parent
_PORT = 5000


@dataclass(frozen=True, slots=True)
class FleetSite:
    """The devices, the origin, and a folder for files.

    `slow` bounds what the origin sends, in megabits a second; None lets it go.
    """

    lab: Lab
    origin: Origin
    folder: Path
    slow: Callable[[int | None], None]

    @property
    def environment(self) -> Mapping[str, str]:
        """The same for every contender: no settings, no caches and no credentials of the user."""
        own = {"POLYARCH_REGISTRIES_CONF": "none", "POLYARCH_CONTAINERD_HOSTS": "none"}
        return {"PATH": os.environ["PATH"], "HOME": str(self.folder / "home"), "LC_ALL": "C.UTF-8", **own}

    def polyarch(self, root: Path, *words: str) -> list[str]:
        """The command line of a fleet's command over these devices, with a root folder of its own."""
        settings = self.folder / "polyarch.toml"
        settings.write_text(f'insecure_registries = ["{self.origin.address}"]\n')
        verb, *rest = words
        inventory = () if verb == "report" else ("-i", str(self.lab.inventory))
        return [COMMAND, "--root", str(root), "--config", str(settings), "fleet", verb, *inventory, *rest]


@contextmanager
def fleet_site(kinds: Sequence[str]) -> Iterator[FleetSite]:
    """Devices of these kinds (names of `support.fleet_lab.KINDS`). Raises BenchmarkError where there can be none."""
    tests = str(CHECKOUT / "tests")
    if tests not in sys.path:  # the devices are those of the tests
        sys.path.append(tests)
    from support.fleet_lab import Lab, NoLab

    with tempfile.TemporaryDirectory(prefix="bench-fleet-") as name:
        folder = Path(name)
        (folder / "home").mkdir()
        try:
            with (
                Lab(kinds, folder / "lab", CHECKOUT / ".cache" / "tests") as lab,
                _origin(lab, folder) as (origin, pid),
            ):
                yield FleetSite(lab, origin, folder, lambda rate: _slow(pid, rate))
        except NoLab as error:
            raise BenchmarkError(str(error)) from error


@contextmanager
def _origin(lab: Lab, folder: Path) -> Iterator[tuple[Origin, int]]:
    """A registry in a network of its own, that all devices and this machine reach; and its process."""
    log, settings = folder / "registry.log", folder / "registry.yml"
    script = 'read address && exec "$0" serve "$1"'
    words = (program("setpriv"), "--pdeathsig", "KILL", program("unshare"), "--net", "sh", "-c", script)
    with log.open("wb") as output:
        server = subprocess.Popen(
            [*words, program("docker-registry"), str(settings)], stdin=subprocess.PIPE, stdout=output, stderr=output
        )
    try:
        ours, theirs = Path("/proc/self/ns/net").readlink(), Path(f"/proc/{server.pid}/ns/net")
        await_true(lambda: theirs.readlink() != ours, "there is no network for the registry")
        address = f"{lab.attach(server.pid)}:{_PORT}"
        settings.write_text(served(folder / "registry", address))
        assert server.stdin is not None
        server.stdin.write(b"go\n")
        server.stdin.close()
        origin = Origin(address, log)
        await_true(origin.answers, f"docker-registry does not start; see {log}")
        yield origin, server.pid
    finally:
        server.kill()
        server.wait()


def _slow(pid: int, rate: int | None) -> None:
    """tc-tbf(8): a bucket of tokens on what leaves the namespace of a process."""
    tc = [program("nsenter"), f"--net=/proc/{pid}/ns/net", program("tc"), "qdisc"]
    if rate is None:
        subprocess.run([*tc, "del", "dev", "eth0", "root"], check=True)
        return
    words = ["replace", "dev", "eth0", "root", "tbf", "rate", f"{rate}mbit", "burst", "128kb", "latency", "100ms"]
    subprocess.run([*tc, *words], check=True)


def at_all(devices: Sequence[Device], work: Callable[[Device], None]) -> None:
    """Does something at all devices, several at once."""
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, devices))
