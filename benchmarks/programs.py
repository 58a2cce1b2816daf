"""The peers' programs and what else is needed of the machine."""

from __future__ import annotations

import shutil

from benchmarks.process import MissingError


def program(name: str) -> str:
    """The path of a program. Raises MissingError."""
    path = shutil.which(name)
    if path is None:
        raise MissingError(f"{name} is not installed; .ci/setup installs what Debian has")
    return path
