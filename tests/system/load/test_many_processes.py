"""Sixteen processes at one storage: each pulls, names, runs, removes and prunes as chance has it."""

from __future__ import annotations

import collections
import json
import os
import random
import resource
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry, skopeo
from support.figures import Figures
from support.leftovers import Leftovers

pytestmark = [
    pytest.mark.system,
    pytest.mark.soak,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root sees all mounts"),
]
SECONDS = 60
SEED = 16
IMAGES = ("busybox:1.36", "docker-list:1.0", "nested:1.0", "no-platform:1.0")
"""They share layers, and two of them are the same manifest."""

OWN = tuple(f"kept.example/own:{number}" for number in range(4))
"""Names that all of them give and take away."""


class Worker:
    """One command after the other."""

    def __init__(self, polyarch: Polyarch, images: list[str], seed: int) -> None:
        self._polyarch, self._images = polyarch, images
        self._random = random.Random(seed)
        self.done: collections.Counter[str] = collections.Counter()
        self.wrong: list[str] = []

    def work(self, goes_on: Callable[[int], bool]) -> None:
        """Until `goes_on`, which is told how many commands there were, says no."""
        while goes_on(self.done.total()):
            words, allowed = self._next()
            result = self._polyarch("--progress", "none", *words, seconds=300)
            self.done[" ".join(words[: 2 if words[0] == "image" else 1])] += 1
            ran = words[0] != "run" or result.code or result.stdout == "it ran\n"
            if not ran or (result.code and result.code not in allowed):
                self.wrong.append(f"{' '.join(words)}: {result.code}\n{result.stdout}{result.stderr}")

    def _next(self) -> tuple[tuple[str, ...], tuple[int, ...]]:
        """The words of a command, and with which codes it may end where another process was faster."""
        image, own = self._random.choice(self._images), self._random.choice(OWN)
        gone, used = 3, 2  # the name was taken away; a container that runs stands on it
        either = self._random.choice((image, own))
        everything = self._random.choice(((), ("-a",)))
        return self._random.choices(
            (
                (("pull", image), ()),
                (("image", "tag", image, own), (gone,)),
                (("run", "--rm", image, "echo", "it ran"), ()),
                (("image", "rm", either), (gone, used)),
                (("image", "prune", *everything), ()),
                (("image", "ls"), ()),
            ),
            (6, 4, 4, 3, 1, 1),
        )[0]


def test_sixteen_processes_at_one_storage(
    polyarch: Polyarch, registry: DockerRegistry, figures: Figures, soak: bool
) -> None:
    images = [registry.ref(name) for name in IMAGES]
    workers = [Worker(polyarch, images, SEED + number) for number in range(16 if soak else 4)]
    end = time.monotonic() + SECONDS

    def goes_on(done: int) -> bool:
        return time.monotonic() < end if soak else done < 4

    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with ThreadPoolExecutor(len(workers)) as threads:
        for ended in [threads.submit(worker.work, goes_on) for worker in workers]:
            ended.result()
    seconds, after = time.monotonic() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    wrong = [each for worker in workers for each in worker.wrong]
    done = sum((worker.done for worker in workers), collections.Counter())
    assert not wrong, f"{len(wrong)} of {done}:\n" + "\n".join(wrong[:10])
    _check(polyarch)
    polyarch("image", "prune", "-a").ok()
    _nothing_left(polyarch.root)
    cpu = sum(getattr(after, key) - getattr(before, key) for key in ("ru_utime", "ru_stime"))
    verbs = ", ".join(f"{number} {verb}" for verb, number in sorted(done.items()))
    figures(f"16 processes, one storage, {seconds:.0f} s: wrong endings", f"0 of {done.total()} ({verbs})", "0")
    figures("16 processes, one storage: CPU of a command", f"{cpu / done.total():.2f} s")


def _check(polyarch: Polyarch) -> None:
    """What is there is whole, to skopeo and to itself, and no file of the storage is nobody's."""
    layout = polyarch.root / "oci"
    for image in polyarch("image", "ls", "--format", "json").ok().json_lines:
        name = f"{image['repository']}:{image['tag']}" if image["tag"] else image["manifest"]
        polyarch("verify", name).ok()
    for entry in json.loads((layout / "index.json").read_text())["manifests"]:
        name = entry.get("annotations", {}).get("org.opencontainers.image.ref.name")
        if name:
            skopeo("inspect", "--raw", f"oci:{layout}:{name}")
            skopeo("copy", "--all", f"oci:{layout}:{name}", f"oci:{layout.parent / 'copied'}:{name}")
    shutil.rmtree(layout.parent / "copied", ignore_errors=True)
    blobs = {path.name for path in (layout / "blobs" / "sha256").iterdir()}
    polyarch("image", "prune").ok()  # what lost its name, and blobs that somebody counted on when others removed them
    assert polyarch("image", "prune", "--dry-run", "--format", "json").ok().json_lines == []
    assert {path.name for path in (layout / "blobs" / "sha256").iterdir()} <= blobs


def _nothing_left(root: Path) -> None:
    left = Leftovers(root)
    assert left.processes() == []
    assert left.containers() == []
    assert str(root) not in Path("/proc/self/mountinfo").read_text()
    for folder in (
        "oci/blobs/sha256",
        "oci/.polyarch/partial",
        "oci/.polyarch/leases",
        "snapshots/erofs",
        "containers",
    ):
        assert [path.name for path in (root / folder).glob("*") if path.name != "lock"] == [], folder
    assert {path.name for path in (root / "snapshots").glob("*")} <= {"erofs", "locks"}
    assert list((root / "oci").rglob(".new")) == []
