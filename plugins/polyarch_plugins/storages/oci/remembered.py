"""The file `summaries`: what was read of the images, a line each. It is of no consequence but time."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from polyarch.contract import write_in_one_step

WORTH_REMEMBERING = 100
"""Images that were not remembered before, or lines of the file that are past; so many images are read in 40 ms."""

_MOST_BYTES = 64 << 20
_LONGEST = 1 << 20
_MODE = 0o644


def recalled(path: Path) -> Iterator[bytes]:
    """The lines of what is remembered, if this user or root wrote it."""
    with contextlib.suppress(OSError), path.open("rb") as file:
        there = os.fstat(file.fileno())
        if there.st_uid in (0, os.geteuid()) and there.st_size <= _MOST_BYTES:
            while line := file.readline(_LONGEST):
                yield line


def remember(path: Path, data: bytes, temporary: Path) -> None:
    """Keep these lines alone. Under the storage's lock: `temporary` is nobody else's."""
    if len(data) <= _MOST_BYTES:
        with contextlib.suppress(OSError):
            write_in_one_step(path, data, temporary, sync=False)


def remember_too(path: Path, line: bytes) -> None:
    """Keep one line more, without a lock: it is written at once. A file that nobody ever made short begins anew."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, _MODE)
        try:
            size = os.fstat(descriptor).st_size
            if not size:
                os.fchmod(descriptor, _MODE)  # as all other files have it, whatever the umask
            if size > _MOST_BYTES:
                path.unlink()
            elif len(line) <= _LONGEST:
                os.write(descriptor, line)
        finally:
            os.close(descriptor)
