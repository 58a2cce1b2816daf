"""What it costs to copy an image of five variants from one registry to another, beside `skopeo copy --all`."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.bench import Bench, Turn, alternating
from benchmarks.programs import program
from benchmarks.registry import VARIANTS, Origin, origin, prepare_variants
from benchmarks.result import Case, against, memory


def copy_all(bench: Bench) -> Case:
    """Five variants of two layers each, 420 MB in all, between two registries; each copy gets a new target."""
    with origin(prepare_variants(bench.kept), bench.work / "variants.log") as source:
        reference = f"{source.address}/{VARIANTS}"

        def fresh(turn: Turn) -> Origin:
            return turn.ends.enter_context(origin(turn.folder / "storage", turn.folder / "registry.log"))

        def by_skopeo(turn: Turn) -> Sequence[str]:
            plain = (
                "--insecure-policy",
                "copy",
                "--all",
                "--quiet",
                "--src-tls-verify=false",
                "--dest-tls-verify=false",
            )
            return [program("skopeo"), *plain, f"docker://{reference}", f"docker://{fresh(turn).address}/{VARIANTS}"]

        def by_polyarch(turn: Turn) -> Sequence[str]:
            return bench.polyarch(turn.folder / "root", "copy", reference, f"{fresh(turn).address}/{VARIANTS}")

        contenders = alternating(bench, {"skopeo copy --all": by_skopeo, "polyarch copy": by_polyarch}, bench.runs)
    return Case(
        "copy from registry to registry",
        contenders,
        [
            *against(contenders, "polyarch copy", "skopeo copy --all", 0.8),
            *memory(contenders, "polyarch copy", 60),
        ],
    )
