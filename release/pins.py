"""The lock: `requirements/*.txt` in pip's own format, a pinned package with the hashes of its files after the other."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

CHECKOUT = Path(__file__).resolve().parent.parent
CONSTRAINTS = CHECKOUT / "constraints.txt"
INSTALLER = CHECKOUT / "requirements" / "pip.txt"
DEV = CHECKOUT / "requirements" / "dev.txt"
"""The versions alone; the lock of pip, which is installed first; the lock of all else."""

_HEADING = """\
# Made by `make lock` from pyproject.toml and constraints.txt. Installed with `pip install --require-hashes --no-deps`.
# The hashes are those of all files for Linux, so that every Python and architecture finds its own, from any mirror.
"""
_HASH = re.compile(r"--hash=(\S+)")


class ReleaseError(Exception):
    """Why there is no lock or no release, in one line."""


@dataclass(frozen=True, slots=True)
class Pin:
    """One package: its name as it writes it, its version, a marker (`""`: always), `sha256:…` of its files."""

    name: str
    version: str
    marker: str
    hashes: tuple[str, ...]

    @property
    def key(self) -> str:
        """The name as it is compared (PEP 503)."""
        return canonicalize_name(self.name)


def read(text: str) -> Iterator[Pin]:
    """The pins of a lock. Raises ReleaseError for what is no pin."""
    for entry in re.sub(r"\\\n", " ", re.sub(r"(?m)^#.*\n", "", text)).splitlines():
        requirement = Requirement(_HASH.sub("", entry).strip())
        (specifier,) = requirement.specifier or (None,)
        if specifier is None or specifier.operator != "==" or not _HASH.search(entry):
            raise ReleaseError(f"{entry.split()[0]} is not pinned with hashes")
        marker = str(requirement.marker or "")
        yield Pin(requirement.name, specifier.version, marker, tuple(_HASH.findall(entry)))


def write(pins: Iterable[Pin]) -> str:
    """The text of a lock, always in the same order."""
    lines = [_HEADING]
    for pin in sorted(pins, key=lambda pin: pin.key):
        marker = f" ; {pin.marker}" if pin.marker else ""
        hashes = "".join(f" \\\n    --hash={value}" for value in sorted(pin.hashes))
        lines.append(f"{pin.name}=={pin.version}{marker}{hashes}\n")
    return "".join(lines)
