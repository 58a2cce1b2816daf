"""What it costs to list the files of a big image's layers: the first time, when they are read, and every other time."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.bench import QUICK_FACTOR, Bench, Turn, alternating
from benchmarks.process import measured
from benchmarks.programs import program
from benchmarks.result import Case, Figure, max_rss, median

MOST_FIRST = 5.0
MOST_AGAIN = 0.2
MOST_MEMORY = 200
"""MB: a row a file is held; the bytes of the image pass through."""


_MAKE = """
import pathlib, sys
from polyarch.testing.big_image import big_image
big_image(pathlib.Path(sys.argv[1]), compressed_bytes=0, tar_bytes=1_000_000_000, entries=0)
"""


def image_files(bench: Bench) -> Case:
    """`image files` of an image of 1 GB at hand, beside what one would do without it: `tar -tv` of each layer."""
    root, source = bench.work / "image-files", f"oci:{_layout(bench)}:big:1.0"
    measured(bench.polyarch(root, "pull", "-q", source), bench.environment)
    command = bench.polyarch(root, "image", "files", "big:1.0")
    layers = [str(path) for path in (root / "oci/blobs/sha256").iterdir() if path.stat().st_size > 1 << 20]
    by_tar = f"for layer in {' '.join(layers)}; do {program('gzip')} -dc $layer | {program('tar')} -tvf -; done"

    def first(turn: Turn) -> Sequence[str]:
        shutil.rmtree(root / "cache/listings", ignore_errors=True)
        return command

    walked = alternating(bench, {"gzip and tar -tv": lambda turn: ["sh", "-c", by_tar], "first": first}, bench.runs)
    again = alternating(
        bench,
        {"again": lambda turn: command, "again, as JSON": lambda turn: [*command, "--format", "json"]},
        bench.runs * QUICK_FACTOR,
    )
    peer, first_time = walked.values()
    printed = subprocess.run(command, env=dict(bench.environment), stdout=subprocess.PIPE, check=True).stdout
    return Case(
        "image files",
        walked | again,
        [
            Figure("the first time", median(first_time), MOST_FIRST, " s"),
            Figure("the first time ÷ gzip and tar -tv", median(first_time) / median(peer), 1),
            Figure("again", median(again["again"]), MOST_AGAIN, " s"),
            Figure("memory", max_rss([*first_time, *again["again"]]) / 1e6, MOST_MEMORY, " MB"),
        ],
        ["an image of 1 GB, " + str(printed.count(b"\n") - 1) + " files and folders"],
    )


def _layout(bench: Bench) -> Path:
    """A layout with the image, made once: this machine's files below /usr."""
    layout = bench.kept / "image-files"
    if not layout.exists():
        new = bench.work / "image-files-layout"
        subprocess.run([sys.executable, "-c", _MAKE, str(new)], check=True)
        new.rename(layout)
    return layout
