"""What every case is given, and how contenders take turns."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from tempfile import mkdtemp

from benchmarks.fresh import new_disk
from benchmarks.ordinary import OrdinaryUser
from benchmarks.process import BenchmarkError, MissingError, Run, measured
from benchmarks.registry import Origin

COMMAND = str(Path(sys.executable).parent / "polyarch")
QUICK_FACTOR = 3
"""So many times as many runs of what takes a fraction of a second."""


@dataclass(frozen=True)
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

    def polyarch(self, root: Path, *arguments: str, sync: str = "batch", layers: str = "auto") -> list[str]:
        """The command line, with a root folder of its own, and these settings."""
        settings = self.work / f"{sync}-{layers}.toml"
        settings.write_text(f'sync = "{sync}"\nlayers = "{layers}"\n')
        return [COMMAND, "--root", str(root), "--config", str(settings), *arguments]

    @cached_property
    def ordinary_user(self) -> OrdinaryUser | None:
        """A user without privileges who can start polyarch; None, told, where there is none."""
        user = OrdinaryUser.made(self.work)
        tried = subprocess.run(user.words(self.work, COMMAND, "--version"), capture_output=True) if user else None
        if user is None or tried is None or tried.returncode != 0:
            print(f"  ordinary users cannot start {COMMAND} here: left out", file=sys.stderr)
            return None
        return user


@dataclass(frozen=True, slots=True)
class Turn:
    """What a contender gets for one run: an empty folder; `ends`, for what ends with the run, such as a daemon; and
    `daemons`, the processes that work for it without being its children, whose CPU seconds count."""

    folder: Path
    ends: ExitStack = field(default_factory=ExitStack)
    daemons: list[int] = field(default_factory=list)


Command = Callable[[Turn], Sequence[str]]
"""Makes ready what a contender needs, which is not measured, and answers the words that are."""


def alternating(
    bench: Bench, contenders: Mapping[str, Command], runs: int, *, fresh: bool = False
) -> dict[str, list[Run]]:
    """Run each contender `runs` times in turns, after one round that does not count; the runs of each.

    Each gets a fresh folder; with `fresh` on a file system that is made for the run and removed after it (a file system
    is slow for minutes after much was deleted). A contender that lacks a program is told, and not among the results.
    """
    results: dict[str, list[Run]] = {name: [] for name in contenders}
    for turn in range(runs + 1):
        for name in [*results]:
            place = Path(mkdtemp(dir=bench.work))
            place.chmod(0o755)
            try:
                run = _one(bench, contenders[name], place, fresh)
            except MissingError as error:
                print(f"  {name}: left out, {error}", file=sys.stderr)
                del results[name]
                continue
            except BenchmarkError as error:
                raise BenchmarkError(f"{name}: {error}") from error
            if turn:
                results[name].append(run)
    return results


def _one(bench: Bench, command: Command, place: Path, fresh: bool) -> Run:
    with ExitStack() as outer:
        turn = Turn(outer.enter_context(new_disk(place)) if fresh else place)
        with turn.ends:
            words = command(turn)
            os.sync()
            return measured(words, bench.environment, turn.daemons)
