"""What processes take up: CPU seconds, and memory; of memory that several share, each counts its part (PSS)."""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

_TICKS = os.sysconf("SC_CLK_TCK")


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


def chain(pid: int) -> list[int]:
    """A process's parent, the process, and its descendants, each with one child at most; the last comes last."""
    found = [int(_words(Path(f"/proc/{pid}/stat"))[1]), pid]
    while children := Path(f"/proc/{found[-1]}/task/{found[-1]}/children").read_text().split():
        found.append(int(children[0]))
    return found


def cpu_seconds(pid: int) -> float:
    """Seconds of CPU that a process, all below it, and those of them that have ended and were waited for have had."""
    ticks = 0
    for one in tree(pid):
        with contextlib.suppress(OSError):  # it has just ended
            ticks += sum(map(int, _words(Path(f"/proc/{one}/stat"))[11:15]))  # utime, stime, cutime, cstime
    return ticks / _TICKS


def memory_of_tree(pid: int) -> int:
    """Bytes (PSS) of a process and all below it."""
    found = 0
    for one in tree(pid):
        with contextlib.suppress(OSError, KeyError):  # it has just ended
            found += _fields(Path(f"/proc/{one}/smaps_rollup"))["Pss"]
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


def resident(pid: int) -> int | None:
    """The most bytes that a process had at a time so far (proc(5): VmHWM); None where it has ended."""
    return _fields(Path(f"/proc/{pid}/status")).get("VmHWM")


def _fields(file: Path) -> dict[str, int]:
    """The lines `Name:   123 kB` of a file, in bytes."""
    found = {}
    for line in file.read_text().splitlines():
        name, _, value = line.partition(":")
        if value.endswith(" kB"):
            found[name] = int(value.removesuffix(" kB")) * 1024
    return found
