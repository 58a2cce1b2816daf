"""Runs a program and tells what it took."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


class BenchmarkError(Exception):
    """A program that is measured failed, or one that is needed is not here."""


@dataclass(frozen=True, slots=True)
class Run:
    """What one run took: seconds by the clock, seconds of CPU, and the most bytes that were resident.

    The last comes from wait4(2). A child starts with its parent's highest value (Linux carries it over exec), so the
    process that measures has to stay small itself.
    """

    seconds: float
    cpu_seconds: float
    max_rss: int


def measured(argv: Sequence[str | Path], environment: Mapping[str, str]) -> Run:
    """Run `argv` to its end. Raises BenchmarkError, with what it said, if it fails."""
    with tempfile.TemporaryFile() as output:
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
    return Run(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)
