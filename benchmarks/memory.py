"""What processes take up: of memory that several share, each counts its part (PSS)."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.process import BenchmarkError


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes of one process: `pss` of all its memory, `pss_files` of files in it, and `files`, the same unshared."""

    pss: int
    pss_files: int
    files: int


def memory_of(pid: int) -> Memory:
    """What the kernel says of a process (proc(5): smaps_rollup, status)."""
    rollup = _fields(Path(f"/proc/{pid}/smaps_rollup"))
    return Memory(rollup["Pss"], rollup["Pss_File"], _fields(Path(f"/proc/{pid}/status"))["RssFile"])


def highest(argv: Sequence[str], environment: Mapping[str, str]) -> int:
    """The most bytes that were resident of a program, without what it starts (proc(5): VmHWM). It is run to its end."""
    most = 0
    child = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=dict(environment)
    )
    while child.poll() is None:
        # A process that has just ended has no memory any more.
        most = _fields(Path(f"/proc/{child.pid}/status")).get("VmHWM", most)
        time.sleep(0.01)
    if child.returncode != 0:
        raise BenchmarkError(f"{' '.join(argv)} ended with {child.returncode}")
    return most


def chain(pid: int) -> list[int]:
    """A process's parent, the process, and its descendants, each with one child at most; the last comes last."""
    found = [int(_words(Path(f"/proc/{pid}/stat"))[1]), pid]
    while children := Path(f"/proc/{found[-1]}/task/{found[-1]}/children").read_text().split():
        found.append(int(children[0]))
    return found


def tree(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for one in found:
        for children in Path(f"/proc/{one}/task").glob("*/children"):
            with contextlib.suppress(OSError):  # it has just ended
                found += map(int, children.read_text().split())
    return found


def _words(stat: Path) -> list[str]:
    """The fields of a stat file behind the program's name, which may hold blanks."""
    return stat.read_text().rpartition(")")[2].split()


def _fields(file: Path) -> dict[str, int]:
    """The lines `Name:   123 kB` of a file, in bytes."""
    found = {}
    for line in file.read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value.removesuffix(" kB")) * 1024
    return found
