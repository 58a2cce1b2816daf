"""polyarch's command, started by forking a process that has its modules loaded: a start costs 20 ms, not 250.

What a process took is measured by itself (wait4). `python -m support.forked_commands` is that process.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from typing import Any

MODULES = (
    "polyarch.cli.app",
    "polyarch.cli.commands.pull",
    "polyarch.cli.commands.tags",
    "polyarch.composition",
    "polyarch.registry.transport",
    "polyarch.transfer.fetch",
    "polyarch.session",
)


@dataclass(frozen=True, slots=True)
class Ran:
    """How a command ended; `memory` is the most that lay in RAM (bytes), `cpu` and `seconds` are the times it took."""

    code: int
    stdout: str
    stderr: str
    memory: int
    cpu: float
    seconds: float

    @property
    def told(self) -> str:
        return self.stdout + self.stderr


class ForkedCommands:
    """A running mother of commands; `run` waits for one after the other. Each gets a folder of its own as its home."""

    def __init__(self) -> None:
        tests = Path(__file__).resolve().parent.parent
        path = os.pathsep.join([str(tests), str(tests.parent), os.environ.get("PYTHONPATH", "")])
        self._mother = subprocess.Popen(
            [sys.executable, "-m", "support.forked_commands"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": path},
        )

    def run(
        self,
        home: Path,
        arguments: Sequence[str],
        environ: Mapping[str, str] | None = None,
        seconds: float = 60,
        stdin: str = "",
    ) -> Ran:
        """Run `polyarch ARGUMENTS` with only these variables (HOME is `home`); after `seconds` it is killed (-9)."""
        for name in ("stdin", "stdout", "stderr"):  # there also where it is killed at once
            (home / name).write_text(stdin if name == "stdin" else "")
        assert self._mother.stdin is not None
        assert self._mother.stdout is not None
        wish = {"home": str(home), "arguments": list(arguments), "environ": dict(environ or {}), "seconds": seconds}
        self._mother.stdin.write(json.dumps(wish) + "\n")
        self._mother.stdin.flush()
        answer = json.loads(self._mother.stdout.readline())
        told = {name: (home / name).read_text("utf-8", "surrogateescape") for name in ("stdout", "stderr")}
        for name in ("stdin", *told):
            (home / name).unlink()
        return Ran(**answer, **told)

    def stop(self) -> None:
        self._mother.communicate()


def _serve() -> None:
    import importlib

    for module in MODULES:
        importlib.import_module(module)
    for line in sys.stdin:
        print(json.dumps(_run(json.loads(line))), flush=True)


def _run(wish: dict[str, Any]) -> dict[str, Any]:
    started = monotonic()
    child = os.fork()
    if child == 0:
        _become(wish)
    killer = os.fork()
    if killer == 0:
        _kill_later(child, wish["seconds"])
    _, status, usage = os.wait4(child, 0)
    seconds = monotonic() - started
    os.kill(killer, 9)
    os.waitpid(killer, 0)
    return {
        "code": os.waitstatus_to_exitcode(status),
        "memory": usage.ru_maxrss * 1024,
        "cpu": usage.ru_utime + usage.ru_stime,
        "seconds": seconds,
    }


def _kill_later(child: int, seconds: float) -> None:
    import select

    os.setsid()
    select.select([], [], [], seconds)
    os.kill(child, 9)
    os._exit(0)


def _become(wish: dict[str, Any]) -> None:
    os.setsid()
    os.chdir(wish["home"])
    for number, name, mode in ((0, "stdin", os.O_RDONLY), (1, "stdout", 0), (2, "stderr", 0)):
        opened = os.open(name, mode if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.environ.clear()
    os.environ.update({"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": wish["home"]})
    os.environ.update(wish["environ"])
    sys.path[:0] = os.environ.get("PYTHONPATH", "").split(os.pathsep) if "PYTHONPATH" in os.environ else []
    sys.argv = ["polyarch", *wish["arguments"]]
    sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    # As they are opened at the start of a program: errors go out whole lines at a time.
    sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", closefd=False, buffering=1)  # noqa: SIM115
    code: object = 1
    try:
        from polyarch.cli import main

        main()
    except SystemExit as end:
        code = end.code
    except BaseException:
        import traceback

        traceback.print_exc()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    os._exit(code if isinstance(code, int) else 0 if code is None else 1)


if __name__ == "__main__":
    _serve()
