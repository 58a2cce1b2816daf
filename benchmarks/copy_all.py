"""What it costs to copy an image of five variants from one registry to another, beside `skopeo copy --all`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bench import Bench, alternating
from benchmarks.registry import VARIANTS, Origin, origin, prepare_variants, program
from benchmarks.result import Case, Figure, max_rss, median


def copy_all(bench: Bench) -> Case:
    """Five variants of two layers each, 420 MB in all, between two registries; each copy gets a new target."""
    with ExitStack() as sources, ExitStack() as running:
        source = sources.enter_context(origin(prepare_variants(bench.kept), bench.work / "variants.log"))
        reference = f"{source.address}/{VARIANTS}"

        def fresh(folder: Path) -> Origin:
            running.close()  # the last one
            return running.enter_context(origin(folder / "storage", folder / "registry.log"))

        def by_skopeo(folder: Path) -> Sequence[str]:
            plain = (
                "--insecure-policy",
                "copy",
                "--all",
                "--quiet",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
            )
            return [program("skopeo"), *plain, f"docker://{reference}", f"docker://{fresh(folder).address}/{VARIANTS}"]

        def by_polyarch(folder: Path) -> Sequence[str]:
            return bench.polyarch(folder / "root", "copy", reference, f"{fresh(folder).address}/{VARIANTS}")

        contenders = alternating(bench, {"skopeo copy --all": by_skopeo, "polyarch copy": by_polyarch}, bench.runs)
    peer, own = contenders.values()
    return Case(
        "copy from registry to registry",
        contenders,
        [
            Figure("copy ÷ skopeo copy --all", median(own) / median(peer), 0.8),
            Figure("memory of a copy", max_rss(own) / 1e6, 60, " MB"),
        ],
    )
