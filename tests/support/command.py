"""Running the real `polyarch` command in a process of its own, cut off from the user's files and environment."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from support.users import OrdinaryUser

_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


NO_FILES_OF_THE_MACHINE = {
    "POLYARCH_REGISTRIES_CONF": "none",
    "POLYARCH_CONTAINERD_HOSTS": "none",
    "POLYARCH_POLICY": "none",
}
"""Keeps out what podman's and containerd's files on this machine say of registries and signatures."""


@dataclass(frozen=True, slots=True)
class Result:
    """How a command ended (a negative `code` is a signal's number) and what it printed."""

    arguments: tuple[str, ...]
    code: int
    stdout: str
    stderr: str

    @property
    def json_lines(self) -> list[dict[str, Any]]:
        """The objects on stdout, one a line."""
        return [json.loads(line) for line in self.stdout.splitlines()]

    def ok(self) -> Result:
        """Itself; AssertionError with all that was printed unless the code is 0."""
        assert self.code == 0, f"{' '.join(self.arguments)} ended with {self.code}\n{self.stdout}{self.stderr}"
        return self


class Polyarch:
    """`polyarch("pull", ref)` runs the command with `root` as its storage and an empty home folder."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root"
        self._home = folder / "home"
        self._home.mkdir()

    def __call__(
        self,
        *arguments: str | Path,
        root: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
        seconds: float = 120,
        user: OrdinaryUser | None = None,
    ) -> Result:
        """Runs the command to its end: at most so many seconds, else AssertionError. Other words: see `start`."""
        return self.finish(self.start(*arguments, root=root, env=env, cwd=cwd, user=user), stdin, seconds)

    def start(
        self,
        *arguments: str | Path,
        root: Path | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        user: OrdinaryUser | None = None,
        prefix: Sequence[str] = (),
    ) -> subprocess.Popen[str]:
        """Starts the command, behind the words of `prefix`, in a session of its own; give it to `finish`.

        Its environment is a standard PATH, HOME, LANG, POLYARCH_ROOT, NO_FILES_OF_THE_MACHINE and `env`. As `user` it
        has that user's home.
        """
        home = user.home if user else self._home
        command = user.polyarch_command() if user else [sys.executable, "-m", "polyarch"]
        place = root or (home / "polyarch-root" if user else self.root)
        environment = {
            "PATH": _PATH,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "POLYARCH_ROOT": str(place),
            **NO_FILES_OF_THE_MACHINE,
            **(env or {}),
        }
        return subprocess.Popen(
            [*prefix, *command, *map(str, arguments)],
            cwd=cwd or home,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            **(user.switch() if user else {}),
        )

    def finish(self, process: subprocess.Popen[str], stdin: str = "", seconds: float = 120) -> Result:
        """Waits for the end of a started command. AssertionError when it printed a traceback or did not end in time."""
        arguments = tuple(str(argument) for argument in process.args[1:])  # type: ignore[index]
        try:
            stdout, stderr = process.communicate(stdin, seconds)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            stdout, stderr = process.communicate()
            raise AssertionError(f"not ended after {seconds} s: {' '.join(arguments)}\n{stdout}{stderr}") from None
        for text in (stdout, stderr):
            assert "Traceback (most recent call last)" not in text, f"{' '.join(arguments)}\n{text}"
        return Result(arguments, process.returncode, stdout, stderr)
