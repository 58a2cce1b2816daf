"""What it costs to pull: into an empty storage, again, and the transfer alone."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Bench, Turn, alternating
from benchmarks.process import measured
from benchmarks.programs import program
from benchmarks.result import Case, Figure, against, cpu, memory

NONE, BATCH, TRANSFER, PEER = "polyarch, sync=none", "polyarch, sync=batch", "the transfer alone", "skopeo copy"

_TRANSFER = str(Path(__file__).with_name("transfer.py"))


def pull(bench: Bench) -> Case:
    """Six layers from loopback into an OCI layout. skopeo waits for no disk, so the pull that does not is compared."""
    reference = bench.origin.reference

    def skopeo(turn: Turn) -> Sequence[str]:
        copy = ("--insecure-policy", "copy", "--src-tls-verify=false", f"docker://{reference}")
        return (program("skopeo"), *copy, f"oci:{turn.folder}/layout:big")

    contenders = alternating(
        bench,
        {
            PEER: skopeo,
            NONE: lambda turn: bench.polyarch(turn.folder, "pull", reference, sync="none"),
            BATCH: lambda turn: bench.polyarch(turn.folder, "pull", reference),
            TRANSFER: lambda turn: (sys.executable, "-P", _TRANSFER, reference, str(turn.folder)),
        },
        bench.runs,
        fresh=True,
    )
    return Case(
        "pull into an OCI layout",
        contenders,
        [
            *against(contenders, NONE, PEER, 0.6, "pull ÷ skopeo copy"),
            *against(contenders, TRANSFER, PEER, 0.35, "the transfer alone ÷ skopeo copy"),
            *against(contenders, NONE, PEER, 1.2, "CPU seconds of a pull ÷ those of skopeo copy", cpu),
            *memory(contenders, NONE, 60),
            *memory(contenders, BATCH, 60),
        ],
        [
            f"pull that waits for the disk ÷ skopeo copy: {figure.value:.2f}"
            for figure in against(contenders, BATCH, PEER, 0)
        ],
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
