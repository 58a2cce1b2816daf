"""Containers whose record cannot be read: what can be told of them without it, and who runs them."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime
from pathlib import Path

from polyarch.container.record import MAKING, RECORD, Record

_MOST = 1 << 16
_NAME = re.compile(rb'"name": ?"([A-Za-z0-9][A-Za-z0-9_.-]*)"')
_IMAGE = re.compile(rb'"image": ?"([!#-\[\]-~]+)"')


def damaged_record(directory: Path, *, held: bool) -> Record | None:
    """What stands for the record of a container that has none that can be read, of this version at least.

    Its name and image are what is left of them; it has a `pid` if it runs. None where no record is due: the container
    is being made, or on its way out. Raises OSError where that cannot be told.
    """
    runner = runner_of(directory) if held else 0
    if not (directory / RECORD).exists() and (not runner or (directory / MAKING).exists()):
        return None
    text = _text(directory / RECORD)
    name, image = _NAME.search(text), _IMAGE.search(text)
    return Record(
        id=directory.name,
        name=name[1].decode("ascii") if name else directory.name[:12],
        image=image[1].decode("ascii") if image else "",
        manifest="",
        platform="",
        command=(),
        created=datetime.fromtimestamp(directory.stat().st_mtime, UTC).isoformat(timespec="microseconds"),
        layers=(),
        rm=False,
        pid=runner,
        status="damaged",
    )


def _text(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MOST)
    except OSError:
        return b""


def runner_of(directory: Path) -> int:
    """The process that a container ends with: of those that have its lock open, the first of a PID namespace.

    0 where there is none that this user may look at. Source: proc(5), NSpid of /proc/PID/status.
    """
    try:
        lock = (directory / "lock").stat()
    except OSError:
        return 0
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            if _is_first(process) and any(os.path.samestat(each.stat(), lock) for each in (process / "fd").iterdir()):
                return int(process.name)
        except OSError:
            continue  # another user's, or gone in this moment
    return 0


def _is_first(process: Path) -> bool:
    """Whether it is process 1 of a PID namespace that is not this one's."""
    for line in (process / "status").read_text("ascii", "replace").splitlines():
        if line.startswith("NSpid:"):
            numbers = line.split()[1:]
            return len(numbers) > 1 and numbers[-1] == "1"
    return False
