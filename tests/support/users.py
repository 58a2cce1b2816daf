"""An ordinary user of the machine, for what must work without any privilege."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

_NAME = re.compile(r"polyarch-test-(\d+)")
_NOT_COPIED = shutil.ignore_patterns("__pycache__", "mypy*", "ruff*", "pip*", "_pytest", "hypothesis*", "*.pth")


class OrdinaryUser:
    """Root makes a user `polyarch-test-PID` with subordinate IDs; an ordinary user is the user already.

    `home` is an empty folder of the user's, below one that everybody may enter. `remove` takes all of it away.
    """

    def __init__(self) -> None:
        self._base = Path(tempfile.mkdtemp(prefix="polyarch-test-", dir="/var/tmp"))
        self._base.chmod(0o755)
        self.home = self._base / "home"
        self._made = os.geteuid() == 0
        self._command: list[str] = []
        if self._made:
            _remove_left_over()
            self.name = f"polyarch-test-{os.getpid()}"
            _admin("useradd", "--create-home", "--home-dir", str(self.home), "--shell", "/bin/sh", self.name)
        else:
            self.home.mkdir()
            self.name = pwd.getpwuid(os.geteuid()).pw_name
        entry = pwd.getpwnam(self.name)
        self.uid, self.gid = entry.pw_uid, entry.pw_gid

    def run(
        self,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdin: str = "",
        seconds: float = 120,
    ) -> subprocess.CompletedProcess[str]:
        """Runs a program as the user, in the user's home, with PATH, HOME, LANG and `env` alone in its environment."""
        path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
        return subprocess.run(
            [str(word) for word in argv],
            env={"PATH": path, "HOME": str(self.home), "LANG": "C.UTF-8", **(env or {})},
            cwd=cwd or self.home,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=seconds,
            **self.switch(),
        )

    def switch(self) -> dict[str, Any]:
        """What makes `subprocess` start a program as the user."""
        return {"user": self.uid, "group": self.gid, "extra_groups": []} if self._made else {}

    def give(self, source: Path) -> Path:
        """Copies a file into the user's home, owned by the user, with its mode; the copy."""
        copy = Path(shutil.copy(source, self.home))
        if self._made:
            os.chown(copy, self.uid, self.gid)
        return copy

    def polyarch_command(self) -> list[str]:
        """The words that start polyarch as this user.

        The checkout or its Python may lie in a folder that is closed to the user (/root is). Then the packages are
        copied to where the user can read them, and the system's Python of the same version runs them.
        """
        if not self._command:
            direct = [sys.executable, "-m", "polyarch"]
            self._command = direct if self._can_start(direct) else self._copied_polyarch()
        return self._command

    def _can_start(self, command: list[str]) -> bool:
        try:
            return self.run([*command, "--help"]).returncode == 0
        except OSError:
            return False

    def _copied_polyarch(self) -> list[str]:
        python = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
        if not Path(python).exists():
            pytest.skip(f"{sys.executable} is closed to ordinary users, and there is no {python}")
        library = self._base / "lib"
        import polyarch
        import polyarch_platforms
        import polyarch_plugins

        folders = [Path(str(package.__file__)).parent for package in (polyarch, polyarch_platforms, polyarch_plugins)]
        installed = Path(pytest.__file__).parent.parent
        shutil.copytree(installed, library, ignore=_NOT_COPIED)
        for folder in folders:
            shutil.copytree(folder, library / folder.name, dirs_exist_ok=True)
        return ["env", f"PYTHONPATH={library}", python, "-m", "polyarch"]

    def remove(self) -> None:
        """Takes the user and all its files away."""
        if self._made:
            _admin("userdel", "--force", self.name)
        shutil.rmtree(self._base)


def _remove_left_over() -> None:
    """Takes away users of test runs that were killed."""
    for entry in pwd.getpwall():
        match = _NAME.fullmatch(entry.pw_name)
        if match and not Path("/proc", match[1]).exists():
            _admin("userdel", "--force", entry.pw_name)


def _admin(*argv: str) -> None:
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
