"""What it costs to run a container of an image at hand."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import QUICK_FACTOR, Bench, Command, Turn, alternating
from benchmarks.engines import Engine, crun, docker, podman
from benchmarks.process import MissingError, measured
from benchmarks.registry import SAMPLE, origin, prepare_samples
from benchmarks.result import Case, Figure, against, median

FOREIGN = "linux/amd64" if os.uname().machine == "aarch64" else "linux/arm64"
_REGISTERED = Path("/proc/sys/fs/binfmt_misc", "qemu-x86_64" if FOREIGN == "linux/amd64" else "qemu-aarch64")
_NOT_ROOT = "containers are measured as root, as docker runs them"


@contextmanager
def samples(bench: Bench) -> Iterator[str]:
    """The name of the small image in a registry that is up while the body runs."""
    if os.geteuid() != 0:
        raise MissingError(_NOT_ROOT)
    with origin(prepare_samples(bench.kept), bench.work / "samples.log") as source:
        yield f"{source.address}/{SAMPLE}"


@contextmanager
def engines(bench: Bench, folder: Path, reference: str) -> Iterator[dict[str, Engine]]:
    """Those of docker and podman that are here, with an image, by name; their content lies in `folder`."""
    with docker(folder, reference, bench.environment) as by_docker:
        found = {} if by_docker is None else {"docker": by_docker}
        try:
            found["podman"] = podman(folder, reference, bench.environment)
        except MissingError as error:
            print(f"  podman: left out, {error}", file=sys.stderr)
        yield found


def run(bench: Bench) -> Case:
    """`true` in a container of an image at hand, to its end and removal."""
    environment, root, bundle = bench.environment, bench.work / "run", bench.work / "bundle"
    bundle.mkdir()
    foreign = ("--platform", FOREIGN)
    with samples(bench) as reference, engines(bench, bench.work, reference) as peers:
        for platform in ((), foreign):
            measured(bench.polyarch(root, "run", "--rm", *platform, reference, "true"), environment)
        measured(bench.polyarch(root, "image", "unpack", reference, str(bundle / "rootfs")), environment)
        host = ("--network", "host")
        turns = {f"{name} run": same(peer.run(), peer.daemons) for name, peer in peers.items()}
        turns |= {f"{name}, network host": same(peer.run(*host), peer.daemons) for name, peer in peers.items()}
        turns["python3 -c pass"] = same([sys.executable, "-c", "pass"])
        turns["crun alone"] = same(crun(bundle))
        turns["polyarch run"] = same(bench.polyarch(root, "run", "--rm", reference, "true"))
        turns["polyarch run, emulated"] = same(bench.polyarch(root, "run", "--rm", *foreign, reference, "true"))
        contenders = alternating(bench, turns, bench.runs * QUICK_FACTOR)
    own = "polyarch run"
    bare = median(contenders["crun alone"]) + median(contenders["python3 -c pass"])
    added = median(contenders["polyarch run, emulated"]) - median(contenders[own])
    way = "emulation that is registered" if _REGISTERED.exists() else "private emulation"
    return Case(
        "run an image at hand",
        contenders,
        [
            *(figure for name in peers for figure in against(contenders, own, f"{name} run", 0.5)),
            Figure("run ÷ (crun alone + python3 -c pass)", median(contenders[own]) / bare, 2),
            Figure(f"what {way} adds", added, 0.1, " s"),
        ],
        [
            *(
                f"in the host's network, which is polyarch's default: {figure.name}: {figure.value:.2f}"
                for name in peers
                for figure in against(contenders, own, f"{name}, network host", 0)
            ),
            "podman starts crun, as polyarch does" + ("" if "docker" in peers else "; there is no dockerd here"),
        ],
    )


def same(words: Sequence[str], daemons: Sequence[int] = ()) -> Command:
    """A contender that needs nothing made ready."""

    def command(turn: Turn) -> Sequence[str]:
        turn.daemons.extend(daemons)
        return words

    return command
