"""polyarch's commands in processes of their own, and what each took."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass

from support.command import NO_FILES_OF_THE_MACHINE, Polyarch

# To getrusage(2) a process begins with the memory of the one that starts it; so a small one is between.
_STARTER = """
import json, os, sys, time

began = time.monotonic()
if (child := os.fork()) == 0:
    os.dup2(1, 2)
    os.execv(sys.argv[1], sys.argv[1:])
_, status, usage = os.wait4(child, 0)
ended = {
    "code": os.waitstatus_to_exitcode(status),
    "cpu": usage.ru_utime + usage.ru_stime,
    "seconds": time.monotonic() - began,
    "memory": usage.ru_maxrss * 1024,
}
print(json.dumps(ended), file=sys.stderr)
"""


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
        polyarch = [sys.executable, "-m", "polyarch", *self._before, "--progress", "none", *arguments]
        argv = [sys.executable, "-c", _STARTER, *polyarch]
        done = subprocess.run(argv, env=self._environ, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        ended = json.loads(done.stderr)
        assert ended["code"] == code, f"{' '.join(arguments)}: {ended['code']}\n{done.stdout}"
        return Took(lines=done.stdout.splitlines(), **ended)
