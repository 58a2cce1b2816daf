"""What a container may use of the machine: `--memory`, `--cpus` and their like, as docker means them."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.container.cgroups import is_unified
from polyarch.errors import HostError, UsageError, printable
from polyarch_platforms.lazy_dataclass import dataclass

if TYPE_CHECKING:
    from polyarch.container.request import RunRequest

_MOUNTED = Path("/sys/fs/cgroup")
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?(?:([kmgtp])(?:i?b)?|b)?", re.IGNORECASE | re.ASCII)
_LEAST_MEMORY = 6 << 20  # moby, daemon/daemon_unix.go: with less, the runtime itself does not start
_MOST = (1 << 63) - 1
_PERIOD = 100_000  # microseconds: the kernel's own (cgroup-v2.rst, "cpu.max")
_UNLIMITED = -1
_OPTIONS = {"memory": "--memory", "cpu": "--cpus", "pids": "--pids-limit"}
_HINTS = {"memory": "start the kernel with: cgroup_enable=memory"}


@dataclass(frozen=True, slots=True)
class Limits:
    """Memory, and memory with swap, in bytes; processor time in microseconds of each tenth of a second; processes and
    threads. 0 is what was not asked for, and -1 as much swap as there is."""

    memory: int = 0
    memory_swap: int = 0
    quota: int = 0
    pids: int = 0

    @property
    def controllers(self) -> tuple[str, ...]:
        """The kernel's names of what has to be counted."""
        asked = (("memory", self.memory), ("cpu", self.quota), ("pids", self.pids))
        return tuple(name for name, value in asked if value)

    def resources(self) -> dict[str, object]:
        """`linux.resources` of the runtime-spec (config-linux.md, "Control groups"), for either version of these."""
        made: dict[str, object] = {}
        if self.memory:
            swap = {"swap": self.memory_swap} if self.memory_swap else {}
            made["memory"] = {"limit": self.memory, **swap}
        if self.quota:
            made["cpu"] = {"quota": self.quota, "period": _PERIOD}
        if self.pids:
            made["pids"] = {"limit": self.pids}
        return made


def limits_of(request: RunRequest) -> Limits:
    """The words of a request. Raises UsageError for what cannot be meant."""
    memory = _size(request.memory, "memory") if request.memory else 0
    if memory and memory < _LEAST_MEMORY:
        raise UsageError(f"--memory {printable(request.memory)}: less than 6m starts nothing")
    return Limits(memory, _memory_swap(request.memory_swap, memory), _quota(request.cpus), _pids(request.pids_limit))


def _size(text: str, option: str) -> int:
    """docker/go-units, RAMInBytes: a number, and a power of 1024."""
    found = _SIZE.fullmatch(text)
    if not found:
        raise UsageError(f"--{option} '{printable(text)}' is no size", "bytes, or with a unit: 512m, 1.5g")
    number, unit = found[1], (found[2] or "").lower()
    size = int(float(number) * 1024 ** " kmgtp".index(unit)) if unit else int(float(number))
    if not 0 < size <= _MOST:
        raise UsageError(f"--{option} '{printable(text)}' is no size", "more than nothing, and less than 8192p")
    return size


def _memory_swap(text: str, memory: int) -> int:
    """Memory and swap together; without a word of it twice the memory, as with docker."""
    if not text:
        return min(2 * memory, _MOST)
    if not memory:
        raise UsageError("--memory-swap is memory and swap together: --memory is wanted, too")
    if text == "-1":
        return _UNLIMITED
    size = _size(text, "memory-swap")
    if size < memory:
        raise UsageError(f"--memory-swap {printable(text)} is less than --memory", "it is memory and swap together")
    return size


def _quota(text: str) -> int:
    if not text:
        return 0
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,9})?|\.[0-9]{1,9}", text, re.ASCII) or float(text) < 0.01:
        raise UsageError(f"--cpus '{printable(text)}' is no number of CPUs", "0.01 or more: 0.5, 2")
    return round(float(text) * _PERIOD)


def _pids(text: str) -> int:
    """0 and -1: no limit, which is what docker has without a word, too."""
    if not text:
        return 0
    if not re.fullmatch(r"-1|[0-9]{1,9}", text, re.ASCII):
        raise UsageError(f"--pids-limit '{printable(text)}' is no number of processes", "-1 for no limit")
    return max(int(text), 0)


def held_by_this_machine(request: RunRequest) -> Limits:
    """What a request asks for, where the kernel holds a container to it.

    Swap that was not asked for is left out where the kernel does not count it.

    Raises HostError: it cannot, or this user may not ask for it; UsageError: more CPUs than there are.
    """
    limits = limits_of(request)
    if not limits.controllers:
        return limits
    cpus = os.cpu_count() or 1
    if limits.quota > cpus * _PERIOD:
        raise UsageError(f"--cpus {limits.quota / _PERIOD:g}: this machine has {cpus}")
    options = " and ".join(_OPTIONS[name] for name in limits.controllers)
    if os.geteuid() != 0:
        raise HostError(
            f"{options} cannot be held: an ordinary user's containers have no control group", "run polyarch as root"
        )
    unified = _MOUNTED / "cgroup.controllers"
    second = unified.read_text().split() if unified.exists() else None
    for name in limits.controllers:
        place = _MOUNTED if second is not None else _MOUNTED / name
        there = name in second if second is not None else place.is_dir()
        if not there or not os.access(place, os.W_OK):
            why = f"{place} cannot be written to" if there else f"the kernel counts no {name} in control groups here"
            raise HostError(f"{options} cannot be held: {why}", _HINTS.get(name, "mount the control groups"))
    if limits.memory and not _counts_swap():
        if request.memory_swap:
            raise HostError("--memory-swap cannot be held: the kernel counts no swap", "start it with: swapaccount=1")
        limits = replace(limits, memory_swap=0)
    return limits


def _counts_swap() -> bool:
    """Whether the kernel limits memory and swap together."""
    if is_unified():
        return any(_MOUNTED.glob("*/memory.swap.max"))
    return (_MOUNTED / "memory/memory.memsw.limit_in_bytes").exists()
