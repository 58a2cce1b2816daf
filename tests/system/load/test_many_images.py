"""Ten thousand images in one storage: what a list, a run and the like of them take."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.testing.layout_writer import LayoutWriter, regular
from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.figures import Figures
from support.measured import Measured

pytestmark = [pytest.mark.system, pytest.mark.soak]
BASES = 100
TAGS = 10


def fill(root: Path, number: int) -> None:
    """A storage of so many images, each of four layers that others have, too, and one of its own."""
    writer, source = LayoutWriter(root / "oci"), random.Random(10)
    bases = [
        [writer.layer([regular(f"base/{layer}", source.randbytes(1000))], "base") for layer in range(4)]
        for _ in range(min(BASES, number // 10))
    ]
    for i in range(number):
        own = writer.layer([regular("own", b"%d" % i)], "own")
        platform = {"os": "linux", "architecture": ("arm64", "amd64")[i % 2]}
        writer.name(
            f"registry.example/team{i % 50}/app{i // TAGS}:1.{i % TAGS}",
            writer.image(platform, [*bases[i % len(bases)], own]),
        )
    writer.finish()


def test_ten_thousand_images(
    polyarch: Polyarch, registry: DockerRegistry, figures: Figures, count: Callable[[int, int], int]
) -> None:
    number = count(120, 10_000)
    fill(polyarch.root, number)
    measured, busybox = Measured(polyarch), registry.ref("busybox:1.36")
    one = measured("pull", busybox)  # which makes the storage polyarch's own
    taken = {
        "image ls, the first": measured("image", "ls"),
        "image ls": measured("image", "ls"),
        "image ls -q": measured("image", "ls", "-q"),
        "image ls --format json": measured("image", "ls", "--format", "json"),
        "pull of one more": one,
        "pull of one that is here": measured("pull", busybox),
        "run": measured("run", "--rm", busybox, "true") if os.geteuid() == 0 else one,
        "image tag": measured("image", "tag", busybox, "kept.example/one:1"),
        "image rm": measured("image", "rm", "kept.example/one:1"),
        "image prune --dry-run": measured("image", "prune", "--dry-run"),
        "image prune": measured("image", "prune", "-f"),
    }
    for verb, took in taken.items():
        listed = verb.startswith("image ls") and "first" not in verb
        figures(f"{number} images: {verb}", str(took), "1 s, 100 MB" if listed else "100 MB")
        assert took.memory <= 100e6, verb
    assert len(taken["image ls"].lines) == number + 2
    assert taken["image ls"].lines == taken["image ls, the first"].lines
    assert (polyarch.root / "oci" / ".polyarch" / "summaries").exists()
    for verb in ("image ls", "image ls -q", "image ls --format json"):
        assert taken[verb].cpu <= 1, verb
