"""What it costs to bring an image into podman and into containerd, beside their own pulls."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from benchmarks.bench import COMMAND, Bench, Turn, alternating
from benchmarks.engines import containerd, podman_words
from benchmarks.process import MissingError
from benchmarks.programs import program
from benchmarks.result import Case, Figure, against
from benchmarks.watch import highest

MOST = 1.1
"""Times an engine's own pull: polyarch verifies all before the engine gets to see it, and then the engine unpacks."""
MOST_MEMORY = 80


def into_podman(bench: Bench) -> Case:
    """The big image from loopback into a podman that has nothing yet."""
    if os.geteuid() != 0:
        raise MissingError("podman is measured as root, as the others are")
    reference = bench.origin.reference
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as run:

        def fresh(turn: Turn) -> list[str]:
            return list(podman_words(turn.folder, Path(mkdtemp(dir=run))))

        def by_podman(turn: Turn) -> Sequence[str]:
            return [*fresh(turn), "pull", "--quiet", "--tls-verify=false", reference]

        def by_polyarch(turn: Turn) -> Sequence[str]:
            settings = turn.folder / "polyarch.toml"
            settings.write_text(f'sync = "batch"\n[options.podman]\ncommand = {json.dumps(fresh(turn))}\n')
            root = str(turn.folder / "polyarch")
            return [COMMAND, "--root", root, "--config", str(settings), "pull", "--into", "podman", reference]

        contenders = alternating(bench, {"podman pull": by_podman, "pull --into podman": by_polyarch}, bench.runs)
        (bench.work / "memory-podman").mkdir()
        most = highest(by_polyarch(Turn(bench.work / "memory-podman")), bench.environment)
    return Case(
        "pull into podman",
        contenders,
        [
            *against(contenders, "pull --into podman", "podman pull", MOST),
            Figure("memory of polyarch itself", most / 1e6, MOST_MEMORY, " MB"),
        ],
        ["processor time and memory in the table are polyarch's and podman's together"],
    )


def into_containerd(bench: Bench) -> Case:
    """The same into a containerd that has nothing yet, ready to run; each pull has a new one."""
    if os.geteuid() != 0:
        raise MissingError("a containerd of its own takes root")
    reference = bench.origin.reference

    def fresh(turn: Turn) -> str:
        return str(turn.ends.enter_context(containerd(turn.folder, bench.environment)).socket)

    def by_ctr(turn: Turn) -> Sequence[str]:
        return [program("ctr"), "--address", fresh(turn), "images", "pull", "--plain-http", reference]

    def by_polyarch(turn: Turn) -> Sequence[str]:
        settings = turn.folder / "polyarch.toml"
        settings.write_text(f'sync = "batch"\n[options.containerd]\naddress = "{fresh(turn)}"\n')
        root = str(turn.folder / "polyarch")
        return [COMMAND, "--root", root, "--config", str(settings), "pull", "--into", "containerd", reference]

    contenders = alternating(bench, {"ctr images pull": by_ctr, "pull --into containerd": by_polyarch}, bench.runs)
    alone = Turn(bench.work / "memory-containerd")
    alone.folder.mkdir()
    with alone.ends:
        most = highest(by_polyarch(alone), bench.environment)
    return Case(
        "pull into containerd",
        contenders,
        [
            *against(contenders, "pull --into containerd", "ctr images pull", MOST),
            Figure("memory of polyarch itself", most / 1e6, MOST_MEMORY, " MB"),
        ],
        ["processor time and memory in the table are those of the commands: most of the work is done by the daemon"],
    )
