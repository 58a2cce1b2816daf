"""What it costs to run a container: the time of a start, and what each further one of an image takes."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from benchmarks.bench import QUICK_FACTOR, Bench, alternating
from benchmarks.engines import crun, docker, podman
from benchmarks.memory import chain, memory_of
from benchmarks.process import BenchmarkError, measured
from benchmarks.registry import SAMPLE, origin, prepare_samples, program
from benchmarks.result import Case, Figure, median

COUNT = 50
"""Containers of one image that run at a time."""
MOST_DISK = 96
"""KiB that a container may add: some folders and small files, of a block each."""
FOREIGN = "linux/amd64" if os.uname().machine == "aarch64" else "linux/arm64"
_REGISTERED = Path("/proc/sys/fs/binfmt_misc", "qemu-x86_64" if FOREIGN == "linux/amd64" else "qemu-aarch64")
_NOT_ROOT = "containers are measured as root, as docker runs them"


@contextmanager
def _samples(bench: Bench) -> Iterator[str]:
    """The name of the small image in a registry that is up while the body runs."""
    if os.geteuid() != 0:
        raise BenchmarkError(_NOT_ROOT)
    with origin(prepare_samples(bench.kept), bench.work / "samples.log") as source:
        yield f"{source.address}/{SAMPLE}"


def run(bench: Bench) -> Case:
    """`true` in a container of an image at hand, to its end and removal."""
    environment, root, bundle = bench.environment, bench.work / "run", bench.work / "bundle"
    bundle.mkdir()
    foreign = ("--platform", FOREIGN)
    with _samples(bench) as reference, docker(bench.work, reference, environment) as by_docker:
        by_podman = podman(bench.work, reference, environment)
        for platform in ((), foreign):
            measured(bench.polyarch(root, "run", "--rm", *platform, reference, "true"), environment)
        measured(bench.polyarch(root, "image", "unpack", reference, str(bundle / "rootfs")), environment)
        peers = {"podman": by_podman} if by_docker is None else {"docker": by_docker, "podman": by_podman}
        commands: dict[str, Sequence[str]] = {f"{name} run": peer.run() for name, peer in peers.items()}
        commands |= {f"{name}, network host": peer.run("--network", "host") for name, peer in peers.items()}
        commands["crun alone"] = crun(bundle)
        commands["polyarch run"] = bench.polyarch(root, "run", "--rm", reference, "true")
        commands["polyarch run, emulated"] = bench.polyarch(root, "run", "--rm", *foreign, reference, "true")
        turns = {name: partial(_same, argv) for name, argv in commands.items()}
        contenders = alternating(bench, turns, bench.runs * QUICK_FACTOR)
    seconds = {name: median(runs) for name, runs in contenders.items()}
    native = seconds["polyarch run"]
    way = "emulation that is registered" if _REGISTERED.exists() else "private emulation"
    return Case(
        "run an image at hand",
        contenders,
        [
            *(Figure(f"run ÷ {name} run", native / seconds[f"{name} run"], 0.5) for name in peers),
            Figure("run − crun alone", native - seconds["crun alone"], 0.25, " s"),
            Figure(f"what {way} adds", seconds["polyarch run, emulated"] - native, 0.1, " s"),
        ],
        [
            *(
                f"in the host's network, which is polyarch's default, ÷ {name}: "
                f"{native / seconds[f'{name}, network host']:.2f}"
                for name in peers
            ),
            "podman starts crun, as polyarch does" + ("; there is no dockerd here" if by_docker is None else ""),
        ],
    )


def _same(argv: Sequence[str], folder: Path) -> Sequence[str]:
    return argv


def containers(bench: Bench) -> Case:
    """Many containers of one image at a time: what they add on the disk and in memory."""
    root = bench.work / "containers"
    with _samples(bench) as reference:
        measured(bench.polyarch(root, "run", "--rm", reference, "true"), bench.environment)
    disk, layers = _allocated(root), _allocated(root / "snapshots")
    command = bench.polyarch(root, "run", "--detach", reference, "sleep", "3600")
    try:
        runs = [measured(command, bench.environment) for _ in range(COUNT)]
        grown, copied = _allocated(root) - disk, _allocated(root / "snapshots") - layers
        records = [json.loads(file.read_text()) for file in (root / "containers").glob("*/container.json")]
        chains = [[memory_of(pid) for pid in chain(record["pid"])] for record in records]
    finally:
        left = [folder.name for folder in (root / "containers").glob("*/")]
        if left:
            measured(bench.polyarch(root, "rm", "--force", *left), bench.environment)
    programs = [processes[-1] for processes in chains]
    copies = sum(one.pss_files for one in programs) / max(one.files for one in programs)
    parts = [sum(one.pss for one in part) / COUNT / 1e6 for part in zip(*chains, strict=True)]
    shown = ", ".join(f"{name} {part:.2f}" for name, part in zip(("monitor", "crun", "program"), parts, strict=True))
    return Case(
        f"{COUNT} containers of one image at a time",
        {"polyarch run -d": runs},
        [
            Figure("what they add to the image's layers", copied, 0, " bytes"),
            Figure("disk of a container", grown / COUNT / 1024, MOST_DISK, " KiB"),
            Figure("copies of the program in memory", copies, 1.1),
        ],
        [f"memory of a container (PSS): {sum(parts):.2f} MB: {shown}", f"layers of the image: {layers / 1e6:.1f} MB"],
    )


def _allocated(folder: Path) -> int:
    """Bytes that a folder and all in it take up on the disk, files of several names once."""
    said = subprocess.run([program("du"), "--summarize", "--block-size=1", folder], check=True, capture_output=True)
    return int(said.stdout.split()[0])
