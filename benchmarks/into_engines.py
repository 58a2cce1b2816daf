"""What it costs to bring an image into podman and into containerd, beside their own pulls."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from benchmarks.bench import COMMAND, Bench, alternating
from benchmarks.engines import containerd, podman_words
from benchmarks.memory import highest
from benchmarks.process import BenchmarkError
from benchmarks.registry import program
from benchmarks.result import Case, Figure, median

MOST = 1.1
"""Times an engine's own pull: polyarch verifies all before the engine gets to see it, and then the engine unpacks."""
MOST_MEMORY = 80


def into_podman(bench: Bench) -> Case:
    """The big image from loopback into a podman that has nothing yet."""
    if os.geteuid() != 0:
        raise BenchmarkError("podman is measured as root, as the others are")
    reference = bench.origin.reference
    with TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as run:

        def fresh(folder: Path) -> list[str]:
            return list(podman_words(folder, Path(mkdtemp(dir=run))))

        def by_podman(folder: Path) -> Sequence[str]:
            return [*fresh(folder), "pull", "--quiet", "--tls-verify=false", reference]

        def by_polyarch(folder: Path) -> Sequence[str]:
            settings = folder / "polyarch.toml"
            settings.write_text(f'sync = "batch"\n[options.podman]\ncommand = {json.dumps(fresh(folder))}\n')
            root = str(folder / "polyarch")
            return [COMMAND, "--root", root, "--config", str(settings), "pull", "--into", "podman", reference]

        contenders = alternating(bench, {"podman pull": by_podman, "pull --into podman": by_polyarch}, bench.runs)
        (bench.work / "memory-podman").mkdir()
        memory = highest(by_polyarch(bench.work / "memory-podman"), bench.environment)
    peer, own = contenders.values()
    return Case(
        "pull into podman",
        contenders,
        [
            Figure("pull --into podman ÷ podman pull", median(own) / median(peer), MOST),
            Figure("memory of polyarch itself", memory / 1e6, MOST_MEMORY, " MB"),
        ],
        ["processor time and memory in the table are polyarch's and podman's together"],
    )


def into_containerd(bench: Bench) -> Case:
    """The same into a containerd that has nothing yet, ready to run; each pull has a new one."""
    if os.geteuid() != 0:
        raise BenchmarkError("a containerd of its own takes root")
    reference = bench.origin.reference
    with ExitStack() as running:

        def fresh(folder: Path) -> str:
            running.close()  # the last one
            return str(running.enter_context(containerd(folder, bench.environment)))

        def by_ctr(folder: Path) -> Sequence[str]:
            return [program("ctr"), "--address", fresh(folder), "images", "pull", "--plain-http", reference]

        def by_polyarch(folder: Path) -> Sequence[str]:
            settings = folder / "polyarch.toml"
            settings.write_text(f'sync = "batch"\n[options.containerd]\naddress = "{fresh(folder)}"\n')
            root = str(folder / "polyarch")
            return [COMMAND, "--root", root, "--config", str(settings), "pull", "--into", "containerd", reference]

        contenders = alternating(bench, {"ctr images pull": by_ctr, "pull --into containerd": by_polyarch}, bench.runs)
        (bench.work / "memory-containerd").mkdir()
        memory = highest(by_polyarch(bench.work / "memory-containerd"), bench.environment)
    peer, own = contenders.values()
    return Case(
        "pull into containerd",
        contenders,
        [
            Figure("pull --into containerd ÷ ctr images pull", median(own) / median(peer), MOST),
            Figure("memory of polyarch itself", memory / 1e6, MOST_MEMORY, " MB"),
        ],
        ["processor time and memory in the table are those of the commands: most of the work is done by the daemon"],
    )
