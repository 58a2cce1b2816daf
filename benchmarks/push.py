"""What it costs to push an image, beside skopeo, into a registry that has nothing yet, and into one that has it all."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from benchmarks.bench import Bench, Turn, alternating
from benchmarks.process import measured
from benchmarks.programs import program
from benchmarks.registry import NAME, Origin, origin
from benchmarks.result import Case, Figure, against, memory


def push(bench: Bench) -> Case:
    """The big image from an OCI layout to loopback; both read one, and each push gets a new registry."""
    reference, layout, root = bench.origin.reference, bench.work / "push-layout", bench.work / "push-root"
    plain = ("--insecure-policy", "copy", "--quiet")
    source = f"oci:{layout}:big"
    subprocess.run([program("skopeo"), *plain, "--src-tls-verify=false", f"docker://{reference}", source], check=True)
    measured(bench.polyarch(root, "pull", reference), bench.environment)

    def fresh(turn: Turn) -> Origin:
        return turn.ends.enter_context(origin(turn.folder / "storage", turn.folder / "registry.log"))

    def by_skopeo(turn: Turn) -> Sequence[str]:
        target = f"docker://{fresh(turn).address}/{NAME}"
        return [program("skopeo"), *plain, "--dest-tls-verify=false", source, target]

    def by_polyarch(turn: Turn) -> Sequence[str]:
        return bench.polyarch(root, "push", reference, f"{fresh(turn).address}/{NAME}")

    contenders = alternating(bench, {"skopeo copy": by_skopeo, "polyarch push": by_polyarch}, bench.runs)
    twice = Turn(bench.work / "push-again")
    twice.folder.mkdir()
    with twice.ends:
        again = fresh(twice)
        command = bench.polyarch(root, "push", reference, f"{again.address}/{NAME}")
        measured(command, bench.environment)
        before = len(again.requests())
        second = measured(command, bench.environment)
        uploads = sum("/blobs/uploads/" in path for _, path in again.requests()[before:])
    return Case(
        "push to a registry",
        {**contenders, "polyarch push, again": [second]},
        [
            *against(contenders, "polyarch push", "skopeo copy", 1.0),
            Figure("uploads of a second push", uploads, 0),
            *memory(contenders, "polyarch push", 60),
        ],
    )
