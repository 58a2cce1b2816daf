"""File systems that are made for one run, in a mount namespace that nobody else sees."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from benchmarks.programs import program

_SIZE = 24 << 30
"""Bytes of the file, which takes up only what is written to it."""
_CLONE_NEWNS, _MS_REC, _MS_PRIVATE, _MNT_DETACH = 0x20000, 0x4000, 1 << 18, 2


def libc_mount(source: str, target: Path, flags: int) -> None:
    """mount(2) without a type. Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    words = (source.encode(), os.fsencode(target), None, ctypes.c_ulong(flags), None)
    if libc.mount(*words) != 0:
        raise OSError(ctypes.get_errno(), f"mount {target}: {os.strerror(ctypes.get_errno())}")


@cache
def private_mounts() -> bool:
    """From now on what this process mounts is its own and its children's, and goes with them. False: not permitted."""
    libc = ctypes.CDLL(None, use_errno=True)
    if os.geteuid() != 0 or libc.unshare(_CLONE_NEWNS) != 0:
        return False
    libc_mount("none", Path("/"), _MS_REC | _MS_PRIVATE)
    return True


@contextmanager
def new_disk(place: Path) -> Iterator[Path]:
    """An empty folder on an ext4 of its own, mounted at `place`, while the body runs; `place` where none can be had."""
    file = place.with_name(f"{place.name}.disk")
    if not private_mounts() or not _made(file, place):
        _told()
        yield place
        return
    try:
        folder = place / "new"
        folder.mkdir()
        yield folder
    finally:
        # Detached where something in it still ends; what the kernel has not written yet need not be.
        ctypes.CDLL(None).umount2(os.fsencode(place), _MNT_DETACH)
        file.unlink()


def _made(file: Path, place: Path) -> bool:
    with file.open("wb") as stream:
        stream.truncate(_SIZE)
    make = [program("mkfs.ext4"), "-q", "-F", "-m", "0", str(file)]
    # Without noinit_itable the kernel would write tables while the run is measured.
    mount = [program("mount"), "-o", "loop,noinit_itable", str(file), str(place)]
    if all(subprocess.run(words, capture_output=True).returncode == 0 for words in (make, mount)):
        return True
    file.unlink()
    return False


@cache
def _told() -> None:
    print("  no file systems can be made here (it takes root and loop devices): all share one", file=sys.stderr)
