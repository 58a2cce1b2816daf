"""The answers of scripts on devices: lines between a first and a last one; a login may write others around. Pure."""

from __future__ import annotations

from polyarch.errors import printable
from polyarch.fleet.reasons import FactsFault


def framed_lines(device: str, text: str, first: str, last: str) -> tuple[list[str], bool]:
    """The lines between `first` and `last` in what a device printed; True if `last` came, False where it was cut.

    Raises FactsFault (`integrity`) where `first` is not there.
    """
    lines = [line.rstrip("\r") for line in text.split("\n")]
    begin = next((i for i, line in enumerate(lines) if line.strip() == first), None)
    if begin is None:
        said = next((line for line in reversed(lines) if line.strip()), "nothing").strip()
        raise FactsFault(
            device,
            "integrity",
            f"what it answered is no answer to what it was asked: {printable(said, 200)}",
            "it needs a POSIX shell, and a login that runs what it is told",
        )
    end = next((i for i in range(begin, len(lines)) if lines[i].strip() == last), None)
    return lines[begin + 1 : end], end is not None
