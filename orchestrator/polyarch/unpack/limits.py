"""What a layer may come to when it is read."""

from __future__ import annotations

from polyarch.limits import MAX_LAYER_ENTRIES, MAX_LAYER_RATIO, MAX_LAYER_SIZE
from polyarch_platforms.lazy_dataclass import dataclass

RATIO_FROM = 1 << 30
"""Bytes from which on the ratio counts."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one layer may need: `size` bytes uncompressed, `entries` in its archive, and, beyond the first GiB, at most
    `ratio` times the bytes that it travels with.
    """

    size: int = MAX_LAYER_SIZE
    entries: int = MAX_LAYER_ENTRIES
    ratio: int = MAX_LAYER_RATIO


_in_force = Limits()


def set_limits(limits: Limits) -> None:
    """What layers may need in this process from now on, wherever nobody says otherwise: the settings say it."""
    global _in_force
    _in_force = limits


def limits_in_force() -> Limits:
    """What `set_limits` was given last."""
    return _in_force
