"""polyarch's commands in processes of their own, and what each took."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import dataclass

from support.command import NO_FILES_OF_THE_MACHINE, Polyarch


@dataclass(frozen=True)
class Took:
    """How a command ended, the CPU seconds and the memory (bytes) that it took, and the seconds of the clock."""

    code: int
    lines: list[str]
    cpu: float
    seconds: float
    memory: int

    def __str__(self) -> str:
        return f"{self.cpu:.2f} s CPU, {self.seconds:.2f} s, {self.memory / 1e6:.0f} MB"


class Measured:
    """`measured("image", "ls")` runs the command on the storage of `polyarch`."""

    def __init__(self, polyarch: Polyarch, *before: str) -> None:
        """`before` are the words in front of each command."""
        self._before = before
        self._environ = {
            "PATH": os.environ["PATH"],
            "HOME": str(polyarch.root.parent),
            "LANG": "C.UTF-8",
            "POLYARCH_ROOT": str(polyarch.root),
            **NO_FILES_OF_THE_MACHINE,
        }

    def __call__(self, *arguments: str, code: int = 0) -> Took:
        """AssertionError unless it ends with this code. What it says on stderr is among its lines, too."""
        began = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "polyarch", *self._before, "--progress", "none", *arguments],
            env=self._environ,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        with process.stdout as stream:
            said = stream.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        assert process.returncode == code, f"{' '.join(arguments)}: {process.returncode}\n{said}"
        cpu, seconds = usage.ru_utime + usage.ru_stime, time.monotonic() - began
        return Took(code, said.splitlines(), cpu, seconds, usage.ru_maxrss * 1024)
