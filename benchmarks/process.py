"""Runs a program and tells what it took."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.counter import instructions
from benchmarks.memory import cpu_seconds


class BenchmarkError(Exception):
    """A program that is measured failed, or one that is needed is not here."""


class MissingError(BenchmarkError):
    """A program that is needed is not here: whoever takes turns does so without it."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took: seconds by the clock, seconds of CPU, and the most bytes that were resident.

    The last comes from wait4(2): the largest of the processes, not their sum. A child starts with its parent's highest
    value (Linux carries it over exec), so the process that measures has to stay small itself. `instructions` are None
    where the machine does not count them.
    """

    seconds: float
    cpu_seconds: float
    max_rss: int
    instructions: int | None = None


def measured(argv: Sequence[str | Path], environment: Mapping[str, str], daemons: Iterable[int] = ()) -> Run:
    """Run `argv` to its end; what `daemons` (process IDs) and all below them work meanwhile counts as CPU seconds, too.

    Raises BenchmarkError, with what it said, if it fails.
    """
    daemons = tuple(daemons)
    with tempfile.TemporaryFile() as output:
        before, counted = sum(map(cpu_seconds, daemons)), instructions()
        began = time.perf_counter()
        child = subprocess.Popen(
            argv, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, env=dict(environment)
        )
        try:
            _, status, usage = os.wait4(child.pid, 0)
        except BaseException:  # Ctrl-C
            child.kill()
            child.wait()
            raise
        seconds = time.perf_counter() - began
        child.returncode = os.waitstatus_to_exitcode(status)
        if child.returncode != 0:
            output.seek(0)
            said = output.read(4096).decode(errors="replace").strip()
            raise BenchmarkError(f"{' '.join(map(str, argv))} ended with {child.returncode}: {said}")
    after, counted_then = sum(map(cpu_seconds, daemons)), instructions()
    cpu = usage.ru_utime + usage.ru_stime + after - before
    # What a daemon executes is counted for nobody.
    known = counted is not None and counted_then is not None and not daemons
    return Run(seconds, cpu, usage.ru_maxrss * 1024, counted_then - counted if known else None)  # type: ignore[operator]
