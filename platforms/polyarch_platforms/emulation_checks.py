"""Whether programs of an architecture behave as they do on a machine of their own: what `emulator test` shows.

Tried are two hand-made programs (`tiny`), started in a folder of their own and named as seen from there.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Literal

from polyarch_platforms.architecture import Architecture
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.qemu import Ended, run
from polyarch_platforms.tiny import SHOWN, expected_output, reporting_program, tiny_program

_PROGRAM, _REPORTER, _SCRIPT = "./program", "./report", "./script"
_NAME = "polyarch"  # an argv[0] that is not the program's path
_STRANGER = 65534  # a user who is not root: who owns the setuid program
_STATUS = Path("/proc/self/status")

# What is shown of an argv[0] has a fixed length.
assert len(_REPORTER) == len(_NAME) == SHOWN


@dataclass(frozen=True, slots=True)
class Check:
    """One thing tried; the fields are the keys of `checks` in `emulator test --format json`.

    name        `program`, `child`, `script`, `argv0`, `setuid`
    verdict     `not-tried`: `fact` says why
    fact        what was seen, in a few words
    essential   emulation is of no use where this failed
    """

    name: str
    verdict: Literal["ok", "failed", "not-tried"]
    fact: str
    essential: bool


def checks(architecture: Architecture, flags: str | None) -> tuple[Check, ...]:
    """Tries programs of the architecture, as the kernel starts them here.

    `flags` are those of the binfmt_misc entry that serves; None where the machine runs the programs itself.
    """
    import tempfile

    with tempfile.TemporaryDirectory(prefix="polyarch-") as folder:
        for name, content in (
            (_PROGRAM, tiny_program(architecture)),
            (_REPORTER, reporting_program(architecture)),
            (_SCRIPT, f"#!{_PROGRAM}\n".encode()),
        ):
            path = Path(folder, name)
            path.write_bytes(content)
            path.chmod(0o755)
        program = _program(run([_PROGRAM], folder=folder), expected_output(architecture))
        if program.verdict == "failed":
            others = (("child", True), ("script", True), ("argv0", False), ("setuid", False))
            untried = (Check(name, "not-tried", "no program runs", essential) for name, essential in others)
            return (program, *untried)
        return (
            program,
            _child(run([_NAME, _PROGRAM], executable=_REPORTER, folder=folder), expected_output(architecture)),
            _script(run([_SCRIPT], folder=folder), expected_output(architecture)),
            _argv0(run([_NAME], executable=_REPORTER, folder=folder), flags),
            _setuid(Path(folder), flags),
        )


def _program(ended: Ended, expected: bytes) -> Check:
    if ended.trouble or ended.output != expected:
        return Check("program", "failed", ended.trouble or "it wrote something else", True)
    return Check("program", "ok", f"says {expected.decode().strip()}", True)


def _child(ended: Ended, expected: bytes) -> Check:
    """A program that becomes the one that its first argument names."""
    if ended.code == 0 and ended.output[SHOWN:] == expected:
        return Check("child", "ok", "a program that it starts runs, too", True)
    if ended.code is not None and len(ended.output) == SHOWN:
        return Check("child", "failed", "it got other arguments than it was given, or its child did not start", True)
    return Check("child", "failed", ended.trouble or "its child wrote something else", True)


def _script(ended: Ended, expected: bytes) -> Check:
    if ended.code == 0 and ended.output == expected:
        return Check("script", "ok", "a script whose #! line names it runs", True)
    return Check("script", "failed", ended.trouble or "the script's interpreter wrote something else", True)


def _argv0(ended: Ended, flags: str | None) -> Check:
    """Without flag P a program sees its path instead: a limit, but not a defect. With it, QEMU did not know the flag.

    The program ends with the user's ID, so that its exit code tells nothing here.
    """
    essential = flags is None or "P" in flags
    if ended.output == _NAME.encode():
        return Check("argv0", "ok", "a program sees the argv[0] that it was given", essential)
    if ended.output == _REPORTER.encode():
        why = "this emulator does not know flag P" if essential else "no flag P"
        return Check("argv0", "failed", f"a program sees its path instead of its argv[0]: {why}", essential)
    return Check("argv0", "failed", ended.trouble or "it sees something else", True)


def _setuid(folder: Path, flags: str | None) -> Check:
    """A program of another user's with the set-user-ID bit; it ends with its effective user's ID."""
    expected = flags is None or "C" in flags
    if (reason := _no_setuid(folder)) is not None:
        return Check("setuid", "not-tried", reason, expected)
    ended = run([_REPORTER], folder=str(folder))
    user = ended.code if ended.code is not None else ended.trouble
    if user == _STRANGER & 0xFF:
        how = "" if flags is None else " (flag C)" if "C" in flags else ", though without flag C"
        return Check("setuid", "ok", f"it takes the file's owner{how}", expected)
    if user == os.geteuid() & 0xFF:
        if expected:
            return Check("setuid", "failed", "it is ignored" + (", in spite of flag C" if flags else ""), True)
        return Check("setuid", "ok", "it is ignored (no flag C)", False)
    return Check("setuid", "failed", ended.trouble or "it became another user", expected)


def _no_setuid(folder: Path) -> str | None:
    """Makes the reporting program a setuid one of another user's; why that cannot be, or would tell nothing."""
    if os.geteuid() != 0:
        return "only root can make a setuid program of another user's"
    if os.statvfs(folder).f_flag & os.ST_NOSUID:
        return f"{folder.parent} is mounted nosuid"
    if re.search(r"^NoNewPrivs:\s*1$", _STATUS.read_text(), re.MULTILINE):
        return "this process may get no new rights (no_new_privs)"
    try:
        os.chown(folder / _REPORTER, _STRANGER, -1)
        (folder / _REPORTER).chmod(0o4755)
    except OSError:
        return "there is no second user in this user namespace"
    return None
