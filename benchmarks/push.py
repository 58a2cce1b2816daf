"""What it costs to push an image, beside skopeo, into a registry that has nothing yet, and into one that has it all."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import Bench, alternating
from benchmarks.process import measured
from benchmarks.registry import NAME, Origin, origin, program
from benchmarks.result import Case, Figure, max_rss, median


def push(bench: Bench) -> Case:
    """The big image from an OCI layout to loopback; both read one, and each push gets a new registry."""
    reference, layout, root = bench.origin.reference, bench.work / "push-layout", bench.work / "push-root"
    plain = ("--insecure-policy", "copy", "--quiet")
    source = f"oci:{layout}:big"
    subprocess.run([program("skopeo"), *plain, "--src-tls-verify=false", f"docker://{reference}", source], check=True)
    measured(bench.polyarch(root, "pull", reference), bench.environment)
    with ExitStack() as running:

        def fresh(folder: Path) -> Origin:
            running.close()  # the last one
            return running.enter_context(origin(folder / "storage", folder / "registry.log"))

        def by_skopeo(folder: Path) -> Sequence[str]:
            target = f"docker://{fresh(folder).address}/{NAME}"
            return [program("skopeo"), *plain, "--dest-tls-verify=false", source, target]

        def by_polyarch(folder: Path) -> Sequence[str]:
            return bench.polyarch(root, "push", reference, f"{fresh(folder).address}/{NAME}")

        contenders = alternating(bench, {"skopeo copy": by_skopeo, "polyarch push": by_polyarch}, bench.runs)
        folder = bench.work / "push-again"
        folder.mkdir()
        again = fresh(folder)
        command = bench.polyarch(root, "push", reference, f"{again.address}/{NAME}")
        measured(command, bench.environment)
        before = len(again.requests())
        second = measured(command, bench.environment)
        uploads = sum("/blobs/uploads/" in path for _, path in again.requests()[before:])
    peer, own = contenders.values()
    return Case(
        "push to a registry",
        {**contenders, "polyarch push, again": [second]},
        [
            Figure("push ÷ skopeo copy", median(own) / median(peer), 1.0),
            Figure("uploads of a second push", uploads, 0),
            Figure("memory of a push", max_rss(own) / 1e6, 60, " MB"),
        ],
    )
