"""A day of pulls, containers and kills in some minutes, seen by one process that lives through it: nothing grows."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.testing.layout_writer import LayoutWriter, regular
from support.command import NO_FILES_OF_THE_MACHINE, Polyarch
from support.docker_registry import DockerRegistry
from support.figures import Figures
from support.layout_files import Layout
from support.leftovers import Leftovers

pytestmark = [
    pytest.mark.system,
    pytest.mark.costly,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root sees all mounts"),
    pytest.mark.skipif(os.uname().machine != "x86_64", reason="the images are of amd64"),
]
TESTS = Path(__file__).resolve().parent.parent.parent
ROUNDS = 300
MOST_GROWTH = 3 << 20
"""Bytes of memory in use that may be added after the warm-up: pages that were touched once more, and no more."""
MOST_BLOCKS = 10
"""Small blocks of memory, of which an object takes one or more, that a round may add: less than each pull and request
would, if it left one thing behind."""


@pytest.fixture(scope="module")
def images(
    registry: DockerRegistry, foreign_busybox: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory
) -> list[str]:
    """Two images with busybox, and each with 4 MB of its own that do not compress."""
    writer = LayoutWriter(tmp_path_factory.mktemp("long-life") / "layout")
    base = writer.layer([regular("bin/busybox", foreign_busybox("amd64").read_bytes(), 0o755)], "busybox")
    source = random.Random(24)
    platform = {"os": "linux", "architecture": "amd64"}
    names = ["long-life:1.0", "long-life:2.0"]
    for name in names:
        own = [writer.layer([regular(f"data/{i}", source.randbytes(2 << 20))], f"{name} {i}") for i in range(2)]
        writer.name(name, writer.index([{**writer.image(platform, [base, *own]), "platform": platform}]))
    writer.finish()
    registry.fill(Layout(writer.directory))
    return [registry.ref(name) for name in names]


def test_nothing_grows_in_a_long_life(images: list[str], polyarch: Polyarch, figures: Figures) -> None:
    rounds = ROUNDS
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(polyarch.root.parent),
        "LANG": "C.UTF-8",
        "PYTHONPATH": os.pathsep.join((str(TESTS), str(TESTS.parent))),
        **NO_FILES_OF_THE_MACHINE,
    }
    argv = [sys.executable, "-m", "support.long_life", str(polyarch.root), str(rounds), *images]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=3000)
    assert done.returncode == 0, done.stderr
    seen = [json.loads(line) for line in done.stdout.splitlines()]
    warm, last = seen[2], seen[-1]
    told = {key: [each[key] for each in seen] for key in last}
    for key in ("descriptors", "threads", "mounts", "files", "children"):
        assert last[key] <= warm[key], (key, told[key])
    assert last["mounts"] == 0
    between = last["rounds"] - warm["rounds"]
    assert last["memory"] - warm["memory"] <= MOST_GROWTH, told["memory"]
    assert last["blocks"] - warm["blocks"] <= MOST_BLOCKS * between, told["blocks"]
    left = Leftovers(polyarch.root)
    assert left.processes() == []
    assert left.containers() == []
    assert list((polyarch.root / "oci" / ".polyarch" / "leases").iterdir()) == []
    growth = (last["memory"] - warm["memory"]) / 1024
    title = f"{rounds} rounds of pulls, runs and removals, {last['killed']} killed beside"
    figures(f"{title}: memory at 30 %, at the end", f"{warm['memory'] / 1e6:.1f}, {last['memory'] / 1e6:.1f} MB")
    figures(f"{title}: memory added a round", f"{growth / between:.1f} KiB", f"{(MOST_GROWTH >> 10) / between:.0f} KiB")
    blocks = (last["blocks"] - warm["blocks"]) / between
    figures(f"{title}: small blocks of memory added a round", f"{blocks:.1f}", f"{MOST_BLOCKS}")
    for key in ("descriptors", "threads", "mounts", "files", "children"):
        figures(f"{title}: {key} at 30 %, at the end", f"{warm[key]}, {last[key]}", "no more")
