"""Mounting overlay directories for a look at what the kernel makes of them. Takes root."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def overlay(lowers: Sequence[Path], target: Path) -> Iterator[Path]:
    """A read-only overlay of directories, the topmost first, at `target`, which is made."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount an overlay for all to see")
    target.mkdir()
    below = target.with_name(target.name + "-empty")
    below.mkdir()  # an overlay without upper directory takes two at least
    chain = ":".join(map(str, [*lowers, below]))
    subprocess.run(["mount", "-t", "overlay", "-o", f"ro,lowerdir={chain}", "overlay", str(target)], check=True)
    try:
        yield target
    finally:
        subprocess.run(["umount", str(target)], check=True)
