"""A user without privileges, known to this process and its children alone."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.fresh import libc_mount, private_mounts
from benchmarks.programs import program

_MS_BIND = 0x1000
_ID, _NAME, _FIRST = 61_234, "polyarch-bench", 3_000_000
_FILES = {
    "passwd": f"{_NAME}:x:{_ID}:{_ID}::/nonexistent:/bin/sh\n",
    "group": f"{_NAME}:x:{_ID}:\n",
    "subuid": f"{_NAME}:{_FIRST}:65536\n",
    "subgid": f"{_NAME}:{_FIRST}:65536\n",
}


@dataclass(frozen=True, slots=True)
class OrdinaryUser:
    """Whoever runs this; where that is root, a user with subordinate IDs whom no file of the machine names."""

    made_here: bool

    @staticmethod
    def made(work: Path) -> OrdinaryUser | None:
        """A copy of /etc whose list of users has one more is mounted over it, for this process; None where that fails.

        Single files are no good: when somebody else writes /etc/passwd anew, what is mounted on it goes.
        """
        if os.geteuid() != 0:
            return OrdinaryUser(False)
        if not private_mounts():
            return None
        copy = work / "etc"
        subprocess.run([program("cp"), "--archive", "/etc", copy], check=True)
        for name, line in _FILES.items():
            with (copy / name).open("a") as stream:
                stream.write(line)
        libc_mount(str(copy), Path("/etc"), _MS_BIND)
        return OrdinaryUser(True)

    def words(self, home: Path, *argv: str) -> list[str]:
        """The words that start `argv` as the user, at home in a folder."""
        runtime = home / "runtime"
        switch = [program("setpriv"), f"--reuid={_ID}", f"--regid={_ID}", "--clear-groups"] if self.made_here else []
        return [*switch, program("env"), f"HOME={home}", f"XDG_RUNTIME_DIR={runtime}", *argv]

    def give(self, folder: Path) -> None:
        """Makes a folder the user's, with one for what lives as long as a session (XDG_RUNTIME_DIR)."""
        runtime = folder / "runtime"
        runtime.mkdir(mode=0o700)
        if self.made_here:
            for each in (folder, runtime):
                os.chown(each, _ID, _ID)
