"""What every case is given, and how contenders take turns."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import Run, measured
from benchmarks.registry import Origin

COMMAND = str(Path(sys.executable).parent / "polyarch")
QUICK_FACTOR = 3
"""So many times as many runs of what takes a fraction of a second."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Where the runs happen: the origin of the big image, a folder for what is kept, an empty one, and how often."""

    origin: Origin
    kept: Path
    work: Path
    runs: int

    @property
    def environment(self) -> Mapping[str, str]:
        """The same for every contender: no settings, no caches and no credentials of the user."""
        return {"PATH": os.environ["PATH"], "HOME": str(self.work), "LC_ALL": "C.UTF-8"}

    def polyarch(self, root: Path, *arguments: str, sync: str = "batch") -> list[str]:
        """The command line, with a root folder of its own."""
        settings = self.work / f"{sync}.toml"
        settings.write_text(f'sync = "{sync}"\n')
        return [COMMAND, "--root", str(root), "--config", str(settings), *arguments]


def alternating(
    bench: Bench, contenders: Mapping[str, Callable[[Path], Sequence[str]]], runs: int
) -> dict[str, list[Run]]:
    """Run each contender `runs` times in turns, after one round that does not count. Each gets a fresh folder."""
    results: dict[str, list[Run]] = {name: [] for name in contenders}
    for turn in range(runs + 1):
        for name, command in contenders.items():
            folder = bench.work / f"{turn}-{name.replace(' ', '-')}"
            folder.mkdir()
            argv = command(folder)
            os.sync()
            run = measured(argv, bench.environment)
            if turn:
                results[name].append(run)
    return results
