"""The host's ways to keep a binfmt_misc entry: systemd-binfmt's files, Debian's update-binfmts, or the kernel alone.

systemd-binfmt(8), binfmt.d(5): a file in /etc/binfmt.d is registered at each boot, and one there masks its namesake in
/usr/lib/binfmt.d. The service is not restarted for it, because that would take every other entry away first. [systemd
issue 30892] update-binfmts(8): its own table in /var/lib/binfmts, registered at each boot.
The kernel alone forgets every entry at a reboot.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Literal

from polyarch_platforms import binfmt
from polyarch_platforms.binfmt import Registration
from polyarch_platforms.emulator_record import Record, Way, boot_id
from polyarch_platforms.errors import BinfmtError, QemuError, quoted

_SYSTEMD_RUNS = Path("/run/systemd/system")  # sd_booted(3)
_SYSTEMD_FILES = Path("/etc/binfmt.d")
# binfmt.d(5): of several files of one name the first folder's counts.
_SYSTEMD_FOLDERS = (_SYSTEMD_FILES, *map(Path, ("/run/binfmt.d", "/usr/local/lib/binfmt.d", "/usr/lib/binfmt.d")))
_UPDATE_BINFMTS = "update-binfmts"
_PACKAGE = "polyarch"  # whose entries these are, for update-binfmts
_SECONDS = 60
_MAX_FILE = 64 * 1024


def way_for(name: str) -> tuple[Way, str]:
    """How this host keeps an entry of that name; where that is by the kernel alone, also why.

    One that update-binfmts has from another package stays as it is.
    """
    if _SYSTEMD_RUNS.is_dir() and _SYSTEMD_FILES.is_dir():
        return "systemd", ""
    if not shutil.which(_UPDATE_BINFMTS):
        return "kernel", f"neither systemd nor {_UPDATE_BINFMTS} is here"
    code, _, shown = _update_binfmts(["--display", name])
    if code != 0 or f"package = {_PACKAGE}" in map(str.strip, shown.split("\n")):
        return "update-binfmts", ""
    return "kernel", f"{_UPDATE_BINFMTS} keeps an entry {quoted(name)} of another package"


def at_boot(entry: Registration) -> str | None:
    """What makes exactly this entry at each boot: a file of systemd-binfmt's, `update-binfmts`, or None."""
    if _SYSTEMD_RUNS.is_dir():
        files: dict[str, Path] = {}
        for folder in reversed(_SYSTEMD_FOLDERS):
            files |= {file.name: file for file in folder.glob("*.conf")}
        for file in files.values():
            if any(one.same_as(entry) for one in _entries(file)):
                return str(file)
    if shutil.which(_UPDATE_BINFMTS):
        code, _, shown = _update_binfmts(["--display", entry.name])
        if code == 0 and f"interpreter = {entry.interpreter}" in map(str.strip, shown.split("\n")):
            return _UPDATE_BINFMTS
    return None


def _entries(file: Path) -> Iterator[Registration]:
    """The entries for a magic in a file of systemd-binfmt's; none where it cannot be read."""
    with suppress(QemuError):
        for line in (_content(file) or "").split("\n"):
            with suppress(BinfmtError):
                yield binfmt.parse_line(os.fsencode(line.strip()))


def record(entry: Registration, way: Way, replaced: Registration | None) -> Record:
    """What will be made of the entry, and what it takes the place of. Raises QemuError or BinfmtError."""
    file = _SYSTEMD_FILES / f"{entry.name}.conf" if way == "systemd" else None
    return Record(
        line=os.fsdecode(binfmt.line(entry)),
        way=way,
        boot=boot_id(),
        file=str(file) if file else None,
        file_before=_content(file) if file else None,
        replaced=os.fsdecode(binfmt.line(replaced)) if replaced else None,
        replaced_enabled=replaced.enabled if replaced else True,
    )


def _content(file: Path) -> str | None:
    try:
        with file.open("rb") as stream:
            return os.fsdecode(stream.read(_MAX_FILE))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise QemuError(f"cannot read {file}: {error.strerror}") from error


def put(wanted: Record, root: Path) -> None:
    """Makes the entry; one of that name goes first, and comes back if the kernel refuses the new one."""
    entry = wanted.entry
    before = named(entry.name, root)
    if before is not None:
        binfmt.unregister(entry.name, root)
    try:
        if wanted.way == "update-binfmts":
            _install(entry)
        else:
            binfmt.register(os.fsencode(wanted.line), root)
        if wanted.file is not None:
            _write(Path(wanted.file), wanted.file_content)
    except (BinfmtError, QemuError):
        take(replace(wanted, replaced=None), root)
        if before is not None:
            _restore(before, root)
        raise


def take(made: Record, root: Path) -> tuple[Literal["removed", "restored", "gone"], str | None]:
    """Takes away what `put` made, and puts back what it replaced: `removed`, `restored`, or `gone` if it was not there;
    and why what it replaced is not back, if it should be.

    An entry or file that is not as it was made is somebody else's by now and stays. After another boot, what was
    replaced is the host's to register, as it does with all others.
    """
    entry = made.entry
    current = named(entry.name, root)
    ours = current is not None and current.same_as(entry)
    forget(made)
    if ours and named(entry.name, root) is not None:
        binfmt.unregister(entry.name, root)
    if made.replaced is not None and (ours or (current is None and made.boot == boot_id() and binfmt.mounted(root))):
        former = binfmt.parse_line(os.fsencode(made.replaced))
        try:
            _restore(replace(former, enabled=made.replaced_enabled), root)
        except BinfmtError as error:
            if error.errno != errno.ENOENT:
                raise
            # With flag F it went on with a file that the kernel kept open; that is lost for ever.
            return "removed", f"the entry {quoted(former.name)} that it replaced cannot be made again: {error}"
        return "restored", None
    return "removed" if ours else "gone", None


def forget(made: Record) -> None:
    """Takes away what would make it again at the next boot, unless that is somebody else's by now."""
    if made.file is not None and _content(Path(made.file)) == made.file_content:
        _write(Path(made.file), made.file_before)
    if made.way == "update-binfmts" and shutil.which(_UPDATE_BINFMTS):
        _update_binfmts(["--package", _PACKAGE, "--remove", made.entry.name, made.entry.interpreter])


def _write(file: Path, content: str | None) -> None:
    """Gives the file that content in one step; None takes it away."""
    try:
        if content is None:
            file.unlink()
            return
        new = file.with_suffix(".new")
        new.write_bytes(os.fsencode(content))
        new.replace(file)
    except OSError as error:
        raise QemuError(f"cannot write {file}: {error.strerror}") from error


def named(name: str, root: Path) -> Registration | None:
    """The kernel's entry of that name."""
    return next((one for one in binfmt.registrations(root) if one.name == name), None)


def _restore(entry: Registration, root: Path) -> None:
    binfmt.register(binfmt.line(entry), root)
    if not entry.enabled:
        binfmt.enable(entry.name, False, root)


def _install(entry: Registration) -> None:
    options = ["--package", _PACKAGE, "--install", entry.name, entry.interpreter]
    options += ["--offset", str(entry.offset), "--magic", _escaped(entry.magic), "--mask", _escaped(entry.mask)]
    for flag, option in (("C", "--credentials"), ("P", "--preserve"), ("F", "--fix-binary")):
        options += [option, "yes" if flag in entry.flags else "no"]
    code, said, _ = _update_binfmts(options)
    if code != 0:
        raise QemuError(f"{_UPDATE_BINFMTS} does not install {entry.name}: {said}")


def _escaped(data: bytes) -> str:
    return "".join(f"\\x{byte:02x}" for byte in data)


def _update_binfmts(options: list[str]) -> tuple[int, str, str]:
    """Its exit code, the last line it said, and its output. Raises QemuError where it is not here or does not end."""
    program = shutil.which(_UPDATE_BINFMTS)
    if program is None:
        raise QemuError(f"{_UPDATE_BINFMTS} is not here any more")
    from plumbum import ProcessTimedOut, local

    try:
        code, output, complaints = local[program][options].with_env(LC_ALL="C").run(retcode=None, timeout=_SECONDS)
    except ProcessTimedOut as error:
        raise QemuError(f"{_UPDATE_BINFMTS} did not end within {_SECONDS} seconds") from error
    lines = [line.strip() for line in f"{output}\n{complaints}".split("\n") if line.strip()]
    return code, quoted(lines[-1] if lines else "it said nothing", 200), output
