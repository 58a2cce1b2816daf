"""What many containers of one image cost that run at a time: time, disk, memory."""

from __future__ import annotations

import json
import shlex
import statistics
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.bench import Bench, Command, Turn, alternating
from benchmarks.memory import chain, memory_of
from benchmarks.process import Run, measured
from benchmarks.programs import program
from benchmarks.result import Case, Figure, against
from benchmarks.running import engines, samples

COUNT = 50
"""Containers of one image that run at a time."""
COUNTS = (1, 10, COUNT)
MOST_DISK = 96
"""KiB that a container may add: some folders and small files, of a block each."""


def many(bench: Bench) -> Case:
    """1, 10 and 50 containers started at once, until all are up; what they add on the disk meanwhile."""
    root, folder = bench.work / "many", bench.work / "e"
    folder.mkdir()
    runs: dict[str, list[Run]] = {}
    disk: dict[str, list[int]] = {}
    with samples(bench) as reference, engines(bench, folder, reference) as peers:
        measured(bench.polyarch(root, "run", "--rm", reference, "true"), bench.environment)
        ways = {
            name: _Way(engine.words, engine.image, folder / name, ("kill",), engine.daemons)
            for name, engine in peers.items()
        }
        ways["polyarch"] = _Way(tuple(bench.polyarch(root)), reference, root)
        for count in COUNTS:
            titles = {f"{name}, {count} at once": way for name, way in ways.items()}
            disk |= {title: [] for title in titles}
            commands = {title: _at_once(bench, way, count, disk[title]) for title, way in titles.items()}
            runs |= alternating(bench, commands, bench.runs)
    own = f"polyarch, {COUNT} at once"
    kept = {title: statistics.median(grown) / 1024 for title, grown in disk.items()}
    return Case(
        "containers of one image, started at once",
        runs,
        [
            *(
                figure
                for name in peers
                for count in COUNTS
                for figure in against(runs, f"polyarch, {count} at once", f"{name}, {count} at once", 0.5)
            ),
            Figure("disk of a container", kept[own] / COUNT, MOST_DISK, " KiB"),
        ],
        ["disk in all: " + ", ".join(f"{title}: {size:.0f} KiB" for title, size in kept.items())],
    )


@dataclass(frozen=True, slots=True)
class _Way:
    """What starts containers: the words before `run`, what the image is called, and where all that is kept lies.

    `ending` is the verb that ends a container at once, where removing it would wait for it.
    """

    words: tuple[str, ...]
    image: str
    folder: Path
    ending: tuple[str, ...] = ()
    daemons: tuple[int, ...] = ()


def _at_once(bench: Bench, way: _Way, count: int, disk: list[int]) -> Command:
    """A contender: `count` containers, each started by a process of its own; removed when their disk was looked at."""
    names = [f"many-{number}" for number in range(count)]

    def command(turn: Turn) -> Sequence[str]:
        before = allocated(way.folder)
        turn.daemons.extend(way.daemons)

        def end() -> None:
            disk.append(allocated(way.folder) - before)
            if way.ending:
                measured([*way.words, *way.ending, *names], bench.environment)
            measured([*way.words, "rm", "--force", *names], bench.environment)

        turn.ends.callback(end)
        starts = [
            f'{shlex.join([*way.words, "run", "-d", "--name", name, way.image, "sleep", "3600"])} & pids="$pids $!"'
            for name in names
        ]
        return ("sh", "-c", "\n".join([*starts, "for each in $pids; do wait $each || exit 1; done"]))

    return command


def containers(bench: Bench) -> Case:
    """Many containers of one image at a time: what they add on the disk and in memory."""
    root = bench.work / "containers"
    with samples(bench) as reference:
        for _ in range(3):  # what is remembered of plugins is written by the first few commands, not by each container
            measured(bench.polyarch(root, "run", "--rm", reference, "true"), bench.environment)
    disk, layers = allocated(root), allocated(root / "snapshots")
    command = bench.polyarch(root, "run", "--detach", reference, "sleep", "3600")
    try:
        runs = [measured(command, bench.environment) for _ in range(COUNT)]
        grown, copied = allocated(root) - disk, allocated(root / "snapshots") - layers
        records = [json.loads(file.read_text()) for file in (root / "containers").glob("*/container.json")]
        chains = [[memory_of(pid) for pid in chain(record["pid"])] for record in records]
    finally:
        left = [folder.name for folder in (root / "containers").glob("*/")]
        if left:
            measured(bench.polyarch(root, "rm", "--force", *left), bench.environment)
    programs = [processes[-1] for processes in chains]
    copies = sum(one.pss_files for one in programs) / max(one.files for one in programs)
    parts = [sum(one.pss for one in part) / COUNT / 1e6 for part in zip(*chains, strict=True)]
    shown = ", ".join(f"{name} {part:.2f}" for name, part in zip(("monitor", "crun", "program"), parts, strict=True))
    return Case(
        f"{COUNT} containers of one image at a time",
        {"polyarch run -d": runs},
        [
            Figure("what they add to the image's layers", copied, 0, " bytes"),
            Figure("disk of a container", grown / COUNT / 1024, MOST_DISK, " KiB"),
            Figure("copies of the program in memory", copies, 1.1),
        ],
        [f"memory of a container (PSS): {sum(parts):.2f} MB: {shown}", f"layers of the image: {layers / 1e6:.1f} MB"],
    )


def allocated(folder: Path) -> int:
    """Bytes that a folder and all in it take up on the disk, files of several names once."""
    said = subprocess.run([program("du"), "--summarize", "--block-size=1", folder], check=True, capture_output=True)
    return int(said.stdout.split()[0])
