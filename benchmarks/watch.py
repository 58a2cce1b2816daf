"""Runs a program and looks at its memory again and again: what happens between two looks is not seen."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Mapping, Sequence

from benchmarks.memory import memory_of_tree, resident
from benchmarks.process import BenchmarkError

_SECONDS = 0.01


def highest(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """The most bytes that were resident of a program, without what it starts (proc(5): VmHWM). It is run to its end."""
    return _highest(argv, environment, lambda pid: resident(pid) or 0)


def highest_of_all(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """The most bytes that a program and all that it started had at one moment (PSS). It is run to its end."""
    return _highest(argv, environment, memory_of_tree)


def _highest(argv: Sequence[str], environment: Mapping[str, str], look: Callable[[int], int]) -> int:
    most = 0
    child = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(environment)
    )
    while child.poll() is None:
        most = max(most, look(child.pid))
        time.sleep(_SECONDS)
    if child.returncode != 0:
        raise BenchmarkError(f"{' '.join(argv)} ended with {child.returncode}")
    return most
