"""What it costs to bring an image into docker, beside docker's own pull."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import Bench, alternating
from benchmarks.engines import dockerd
from benchmarks.process import BenchmarkError
from benchmarks.registry import program
from benchmarks.result import Case, Figure, max_rss, median


def into_docker(bench: Bench) -> Case:
    """The big image from loopback into a daemon that has nothing yet, ready to run; each pull has a new daemon."""
    if os.geteuid() != 0:
        raise BenchmarkError("a docker daemon of its own takes root")
    reference = bench.origin.reference
    with ExitStack() as running:

        def fresh(folder: Path) -> Path:
            running.close()  # the last one's daemon
            return running.enter_context(dockerd(folder, bench.environment, alone=False))

        def by_docker(folder: Path) -> Sequence[str]:
            return [program("docker"), "--host", f"unix://{fresh(folder)}", "pull", "--quiet", reference]

        def by_polyarch(folder: Path) -> Sequence[str]:
            return bench.polyarch(folder / "root", "pull", "--into", f"docker:{fresh(folder)}", reference)

        contenders = alternating(bench, {"docker pull": by_docker, "polyarch pull": by_polyarch}, bench.runs)
    peer, own = contenders.values()
    return Case(
        "pull into docker",
        contenders,
        [
            Figure("pull --into docker ÷ docker pull", median(own) / median(peer), 0.9),
            Figure("memory of a pull into docker", max_rss(own) / 1e6, 80, " MB"),
        ],
        ["the processor time is that of the command alone: most of the work is done by the daemon"],
    )
