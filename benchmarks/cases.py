"""What is compared."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import COMMAND, QUICK_FACTOR, Bench, alternating
from benchmarks.commit import commit
from benchmarks.copy_all import copy_all
from benchmarks.image_files import image_files
from benchmarks.into_docker import into_docker
from benchmarks.into_engines import into_containerd, into_podman
from benchmarks.plugins import plugins
from benchmarks.process import measured
from benchmarks.push import push
from benchmarks.registry import program
from benchmarks.result import Case, Figure, max_rss, median
from benchmarks.running import containers, run
from polyarch_platforms.host import probe_script


def pull(bench: Bench) -> Case:
    """Six layers from loopback into an OCI layout. skopeo waits for no disk, so the pull that does not is compared."""

    def skopeo(folder: Path) -> Sequence[str]:
        source = f"docker://{bench.origin.reference}"
        copy = ("--insecure-policy", "copy", "--src-tls-verify=false", source, f"oci:{folder}/layout:big")
        return (program("skopeo"), *copy)

    contenders = alternating(
        bench,
        {
            "skopeo copy": skopeo,
            "polyarch, sync=none": lambda folder: bench.polyarch(folder, "pull", bench.origin.reference, sync="none"),
            "polyarch, sync=batch": lambda folder: bench.polyarch(folder, "pull", bench.origin.reference),
        },
        bench.runs,
    )
    peer, unsynced, synced = contenders.values()
    return Case(
        "pull into an OCI layout",
        contenders,
        [
            Figure("pull ÷ skopeo copy", median(unsynced) / median(peer), 1.0),
            Figure("memory of a pull", max_rss([*unsynced, *synced]) / 1e6, 60, " MB"),
        ],
        [f"pull that waits for the disk ÷ skopeo copy: {median(synced) / median(peer):.2f}"],
    )


def second_pull(bench: Bench) -> Case:
    """A pull of a tag that has not changed: one question, no blob."""
    root = bench.work / "second-pull"
    command = bench.polyarch(root, "pull", bench.origin.reference)
    measured(command, bench.environment)
    before = len(bench.origin.requests())
    runs = [measured(command, bench.environment) for _ in range(bench.runs)]
    requests = bench.origin.requests()[before:]
    manifests = sum("/manifests/" in path for _, path in requests)
    blobs = sum("/blobs/" in path for _, path in requests)
    kinds = Counter(f"{method} {path.split('/')[-2]}" for method, path in requests)
    shown = ", ".join(f"{count / bench.runs:g} × {kind}" for kind, count in kinds.items())
    return Case(
        "second pull of an unchanged tag",
        {"polyarch pull": runs},
        [
            Figure("manifest requests", manifests / bench.runs, 1),
            Figure("blob requests", blobs / bench.runs, 0),
        ],
        [f"requests of a pull: {shown}"],
    )


def resolve(bench: Bench) -> Case:
    """The whole process, beside skopeo's look at the same name."""

    def skopeo(folder: Path) -> Sequence[str]:
        return (program("skopeo"), "inspect", "--tls-verify=false", f"docker://{bench.origin.reference}")

    contenders = alternating(
        bench,
        {
            "skopeo inspect": skopeo,
            "polyarch resolve": lambda folder: bench.polyarch(folder, "resolve", bench.origin.reference),
        },
        bench.runs * QUICK_FACTOR,
    )
    return Case("resolve", contenders, [Figure("resolve", median(contenders["polyarch resolve"]), 0.35, " s")])


def start(bench: Bench) -> Case:
    """The help page against an interpreter that does nothing."""
    contenders = alternating(
        bench,
        {
            "python3 -c pass": lambda folder: (sys.executable, "-c", "pass"),
            "polyarch --help": lambda folder: (COMMAND, "--help"),
        },
        bench.runs * QUICK_FACTOR,
    )
    nothing, page = contenders.values()
    return Case("start", contenders, [Figure("polyarch --help ÷ python3 -c pass", median(page) / median(nothing), 4)])


def probe(bench: Bench) -> Case:
    """Asking this machine what it is: the script alone, and the command as a whole."""
    script = probe_script()
    contenders = alternating(
        bench,
        {
            "python3 -c pass": lambda folder: (sys.executable, "-c", "pass"),
            "the probe": lambda folder: ("/bin/sh", "-c", script),
            "polyarch device": lambda folder: bench.polyarch(folder, "device"),
        },
        bench.runs * QUICK_FACTOR,
    )
    nothing, asked, told = contenders.values()
    return Case(
        "device",
        contenders,
        [Figure("the probe", median(asked) * 1000, 50, " ms")],
        [f"polyarch device ÷ python3 -c pass: {median(told) / median(nothing):.2f}"],
    )


CASES = {
    "pull": pull,
    "second-pull": second_pull,
    "into-docker": into_docker,
    "resolve": resolve,
    "plugins": plugins,
    "start": start,
    "probe": probe,
    "run": run,
    "containers": containers,
    "into-podman": into_podman,
    "into-containerd": into_containerd,
    "commit": commit,
    "push": push,
    "copy-all": copy_all,
    "image-files": image_files,
}
