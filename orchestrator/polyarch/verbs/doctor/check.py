"""A thing looked at, and the command that mends it."""

from __future__ import annotations

import os
import shlex
import shutil
from pathlib import Path
from typing import Literal, TypeAlias

from polyarch.errors import PolyarchError
from polyarch_platforms.lazy_dataclass import dataclass

Verdict: TypeAlias = Literal["ok", "warning", "failed", "skipped"]

_SYSCTL = "sysctl -w "
_LISTS = Path("/var/lib/apt/lists")


@dataclass(frozen=True, slots=True)
class Mend:
    """One command line for a POSIX shell; `as_root` says that an ordinary user cannot run it."""

    command: str
    as_root: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at, or `skipped` because of what else is wrong.

    `essential`: without it polyarch cannot pull and run native images here.
    """

    name: str
    verdict: Verdict
    fact: str
    mend: Mend | None = None
    essential: bool = False

    def to_json(self) -> dict[str, object]:
        """For one JSON line."""
        return {
            "name": self.name,
            "verdict": self.verdict,
            "fact": self.fact,
            "mend": self.mend.command if self.mend else None,
            "as_root": self.mend is not None and self.mend.as_root,
            "essential": self.essential,
        }


def apt_install(package: str, lists: Path = _LISTS) -> Mend:
    """Debian's command for a package; where the machine has no lists of packages (fresh containers), with their fetch.

    It also brings a newer version of what is there.
    """
    fetched = any(lists.glob("*_Packages*")) if lists.is_dir() else False
    return Mend(f"{'' if fetched else 'apt update && '}apt install {package}", as_root=True)


def set_sysctl(assignment: str, folders: str = f"{os.defpath}:/usr/sbin:/sbin") -> Mend:
    """The command that sets `user.max_pid_namespaces=15000`; minimal systems have no program sysctl in `folders`."""
    if shutil.which("sysctl", path=folders):
        return Mend(f"sysctl -w {assignment}", as_root=True)
    name, _, value = assignment.partition("=")
    return Mend(f"echo {value} > /proc/sys/{name.replace('.', '/')}", as_root=True)


def refused(name: str, error: PolyarchError, verdict: Verdict = "failed", *, essential: bool = False) -> Check:
    """What an error says, with its hint as the command, if it is one, else behind the fact."""
    mend = mend_of(error.hint)
    fact = f"{error.message}: {error.hint}" if error.hint and mend is None else error.message
    return Check(name, verdict, fact, mend, essential and verdict == "failed")


def mend_of(hint: str | None) -> Mend | None:
    """The command that a hint consists of, or begins with before a comma; None for a hint that is none."""
    if not hint:
        return None
    command = hint.removeprefix("as root: ").partition(", ")[0]
    if hint.startswith("apt install "):
        return apt_install(command.removeprefix("apt install "))
    if command.startswith(_SYSCTL):
        return set_sysctl(command.removeprefix(_SYSCTL))
    if hint.startswith("as root: "):
        return Mend(command, as_root=True)
    return Mend(command) if hint.startswith("polyarch ") else None


def words(*parts: object) -> str:
    """The words as a command line, quoted where a shell needs it."""
    return shlex.join(map(str, parts))
