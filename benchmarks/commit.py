"""What a commit costs beside docker's and podman's: some changed files in an image of many."""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.bench import Bench, alternating
from benchmarks.engines import dockerd, one_version, podman_words
from benchmarks.process import MissingError, measured
from benchmarks.programs import program
from benchmarks.result import Case, Figure, max_rss, median

MOST = 0.5
"""Times the faster of the two."""
MOST_MEMORY = 80
FOLDERS, IN_EACH, CHANGED = 100, 1000, 10
"""Folders of files, files in each, and how many folders' files are changed."""

_NAME = "commit"
_MAKE = """
import random, sys
from pathlib import Path
from polyarch.testing.debian_busybox import debian_busybox
from polyarch.testing.layout_writer import LayoutWriter, regular
from polyarch_platforms.host import detect, local_facts
directory, cache, folders, in_each = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
cache.mkdir(parents=True, exist_ok=True)
here = detect(local_facts()).platform
name = here.architecture  # of amd64 and arm64, the same word in Debian
some = random.Random(1)
words = [bytes(some.choices(b"abcdefghijklmnop", k=7)) for _ in range(500)]
writer = LayoutWriter(directory)
opened = writer.open_layer("files")
opened.add(regular("bin/busybox", debian_busybox([name], cache)[name].read_bytes(), 0o755))
for folder in range(folders):
    for number in range(in_each):
        opened.add(regular(f"d{folder}/file-{number:04}", b" ".join(some.choices(words, k=some.randrange(20, 400)))))
writer.name("commit", writer.image({"os": here.os, "architecture": here.architecture}, [opened.close()]))
writer.finish()
"""
_CHANGE = (
    "/bin/busybox",
    "sh",
    "-c",
    f"for n in $(/bin/busybox seq 0 {CHANGED - 1}); do for f in /d$n/*; do echo changed >> $f; done; done",
)


def commit(bench: Bench) -> Case:
    """One container each, made by the same program of the same image, committed again and again."""
    if os.geteuid() != 0:
        raise MissingError("containers are measured as root, as the others are")
    layout = _layout(bench)
    numbers = itertools.count()
    root = bench.work / "commit"
    measured(bench.polyarch(root, "pull", "-q", f"oci:{layout}:{_NAME}"), bench.environment)
    measured(bench.polyarch(root, "run", "--name", "changed", f"oci:{layout}:{_NAME}", *_CHANGE), bench.environment)
    own = bench.polyarch(root, "commit", "changed")
    archive = _archive(bench, layout)
    with _docker(bench, archive) as docker:
        podman = _podman(bench, archive)
        contenders = alternating(
            bench,
            {
                "docker commit": lambda turn: [*docker, "commit", "changed", f"new:{next(numbers)}"],
                "podman commit": lambda turn: [*podman, "commit", "-q", "changed", f"new:{next(numbers)}"],
                "polyarch commit": lambda turn: [*own, f"new:{next(numbers)}"],
            },
            bench.runs,
        )
    *peers, ours = contenders.values()
    return Case(
        "commit",
        contenders,
        [
            Figure("commit ÷ the faster of docker and podman", median(ours) / min(map(median, peers)), MOST),
            Figure("memory", max_rss(ours) / 1e6, MOST_MEMORY, " MB"),
        ],
        [
            f"{CHANGED * IN_EACH} changed files in an image of {FOLDERS * IN_EACH}",
            "docker and podman keep the layer as files, polyarch as a compressed blob that is ready to be pushed",
        ],
    )


def _layout(bench: Bench) -> Path:
    """A layout with the image, made once."""
    layout = bench.kept / f"commit-{FOLDERS}-{IN_EACH}"
    if not layout.exists():
        new = bench.work / "commit-layout"
        words = [sys.executable, "-c", _MAKE, str(new), str(bench.kept / "busybox"), str(FOLDERS), str(IN_EACH)]
        subprocess.run(words, check=True)
        new.rename(layout)
    return layout


def _archive(bench: Bench, layout: Path) -> Path:
    """The same for those who read docker's archives."""
    archive = bench.work / "commit.tar"
    source = ("--insecure-policy", "copy", "--quiet", f"oci:{layout}:{_NAME}", f"docker-archive:{archive}:commit:1")
    measured([program("skopeo"), *source], bench.environment)
    return archive


def _podman(bench: Bench, archive: Path) -> list[str]:
    folder = bench.work / "p"  # podman takes no runroot of more than 50 characters
    folder.mkdir()
    words = [*one_version(), *podman_words(folder, folder)]
    measured([*words, "load", "--quiet", "--input", str(archive)], bench.environment)
    identifier = subprocess.run(
        [*words, "images", "-q"], env=dict(bench.environment), stdout=subprocess.PIPE, text=True, check=True
    ).stdout.split()[0]
    measured([*words, "run", "--name", "changed", "--network", "none", identifier, *_CHANGE], bench.environment)
    return words


@contextmanager
def _docker(bench: Bench, archive: Path) -> Iterator[list[str]]:
    folder = bench.work / "commit-docker"
    folder.mkdir()
    with dockerd(folder, bench.environment, alone=True) as daemon:
        words = [program("docker"), "--host", f"unix://{daemon.socket}"]
        measured([*words, "load", "--quiet", "--input", str(archive)], bench.environment)
        measured([*words, "run", "--name", "changed", "--network", "none", "commit:1", *_CHANGE], bench.environment)
        yield words
