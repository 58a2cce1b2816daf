"""What it costs to bring an image into docker, beside docker's own pull."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import Bench, Turn, alternating
from benchmarks.engines import dockerd
from benchmarks.process import MissingError
from benchmarks.programs import program
from benchmarks.result import Case, against, memory


def into_docker(bench: Bench) -> Case:
    """The big image from loopback into a daemon that has nothing yet, ready to run; each pull has a new daemon."""
    if os.geteuid() != 0:
        raise MissingError("a docker daemon of its own takes root")
    reference = bench.origin.reference

    def fresh(turn: Turn) -> Path:
        return turn.ends.enter_context(dockerd(turn.folder, bench.environment, alone=False)).socket

    def by_docker(turn: Turn) -> Sequence[str]:
        return [program("docker"), "--host", f"unix://{fresh(turn)}", "pull", "--quiet", reference]

    def by_polyarch(turn: Turn) -> Sequence[str]:
        return bench.polyarch(turn.folder / "root", "pull", "--into", f"docker:{fresh(turn)}", reference)

    contenders = alternating(bench, {"docker pull": by_docker, "polyarch pull": by_polyarch}, bench.runs)
    return Case(
        "pull into docker",
        contenders,
        [
            *against(contenders, "polyarch pull", "docker pull", 0.9, "pull --into docker ÷ docker pull"),
            *memory(contenders, "polyarch pull", 80),
        ],
        ["the processor time is that of the command alone: most of the work is done by the daemon"],
    )
