"""QEMU's own `qemu-binfmt-conf.sh`: the register line that it makes for one architecture.

The script (QEMU, scripts/qemu-binfmt-conf.sh) writes all architectures it knows into the kernel at once, over whatever
is there. Only `--systemd CPU --exportdir DIR` makes it keep to one and leave the kernel alone: it then writes the line
into a file. This is what is done here; where the line goes is the caller's.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from polyarch_platforms import binfmt
from polyarch_platforms.architecture import Architecture
from polyarch_platforms.binfmt import Registration
from polyarch_platforms.errors import BinfmtError, QemuError, quoted

NAME = "qemu-binfmt-conf.sh"

# Folders beside those of PATH: /usr/sbin is seldom in an ordinary user's, and some packages keep it as data.
_FOLDERS = ("/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/usr/share/qemu", "/usr/libexec/qemu")
_SECONDS = 60
_MAX_LINE = 4096


def find_script() -> Path | None:
    """The host's qemu-binfmt-conf.sh, or None."""
    path = os.pathsep.join((*os.get_exec_path(), *_FOLDERS))
    found = shutil.which(NAME, mode=os.R_OK, path=path)
    return Path(found) if found else None


def registration(script: Path, architecture: Architecture, qemu: Path, flags: str) -> Registration:
    """The entry that the script makes for the architecture with the emulator `qemu` and the flags F, P and C.

    The emulator's name must be the script's: `qemu-CPU` and a suffix. Raises QemuError where the script fails, makes
    no entry, or one that is not what was asked for: an old script does not know all options and passes over them.
    """
    if not script.is_file():
        raise QemuError(f"there is no script {script}", f"name QEMU's {NAME}, which many distributions do not package")
    name = f"qemu-{architecture.qemu}"
    if not qemu.name.startswith(name):
        raise QemuError(
            f"{script} cannot register {qemu}: it names emulators {name} and a suffix", "give the emulator's folder"
        )
    options = ["--qemu-path", str(qemu.parent), "--systemd", architecture.qemu]
    if suffix := qemu.name.removeprefix(name):
        options += ["--qemu-suffix", suffix]
    for flag, option in (("F", "--persistent"), ("C", "--credential"), ("P", "--preserve-argv0")):
        if flag in flags:
            options += [option, "yes"]
    with tempfile.TemporaryDirectory(prefix="polyarch-") as folder:
        said = _run(script, [*options, "--exportdir", folder])
        try:
            with Path(folder, f"{name}.conf").open("rb") as file:
                line = file.read(_MAX_LINE)
        except OSError as error:
            raise QemuError(f"{script} made no entry for {architecture.name}: {said}") from error
    return _checked(script, architecture, line, qemu, flags)


def _run(script: Path, options: list[str]) -> str:
    """Runs the script; the last line it said, for a message."""
    from plumbum import ProcessTimedOut, local

    # The script passes over architectures of the machine's own family (arm on aarch64). Whether the machine runs them
    # itself is not its to guess: with a host of no family it makes every entry. Old scripts ask uname and may refuse.
    command = local["sh"][[str(script), *options]].with_env(HOST_ARCH="none", LC_ALL="C")
    try:
        code, output, complaints = command.run(retcode=None, timeout=_SECONDS)
    except ProcessTimedOut as error:
        raise QemuError(f"{script} did not end within {_SECONDS} seconds") from error
    lines = f"{output}\n{complaints}".split("\n")
    said = next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")
    if code != 0:
        raise QemuError(f"{script} ended with {code}: {quoted(said, 200)}")
    return quoted(said, 200)


def _checked(script: Path, architecture: Architecture, line: bytes, qemu: Path, flags: str) -> Registration:
    try:
        entry = binfmt.parse_line(line)
    except BinfmtError as error:
        raise QemuError(f"{script} made no usable entry for {architecture.name}: {error}") from error
    if binfmt.matching((entry,), architecture) is None:
        raise QemuError(f"the entry that {script} made for {architecture.name} does not take its programs")
    if missing := set(flags) - set(entry.flags):
        raise QemuError(f"{script} does not know how to set flag {', '.join(sorted(missing))}", "use a newer script")
    if Path(entry.interpreter) != qemu:
        raise QemuError(f"{script} registers {quoted(entry.interpreter, 127)}, not {qemu}", "use a newer script")
    return entry
