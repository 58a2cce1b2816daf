"""Which devices a rollout serves together: a pure function of `--batch` and the devices."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TypeAlias

from polyarch.errors import UsageError, printable
from polyarch_platforms.lazy_dataclass import dataclass

_SIZE = re.compile(r"(?P<number>[0-9]{1,9})(?P<percent>%?)")
_HINT = "write counts and percents, the last one repeats: --batch 1,10%,100%"

Member: TypeAlias = tuple[str, str]
"""A device and its platform."""


@dataclass(frozen=True, slots=True)
class BatchSize:
    """So many devices, or so many percent of all that have something to do."""

    number: int
    percent: bool = False

    def of(self, total: int) -> int:
        """Devices; a percent is rounded down, and is one device at least."""
        return max(1, total * self.number // 100) if self.percent else self.number

    def __str__(self) -> str:
        return f"{self.number}%" if self.percent else str(self.number)


@dataclass(frozen=True, slots=True)
class Batch:
    """The sizes of waves, one after the other; the last is that of all further ones, as with Ansible's `serial`."""

    sizes: tuple[BatchSize, ...] = (BatchSize(100, percent=True),)

    def __str__(self) -> str:
        return ",".join(map(str, self.sizes))


ALL_AT_ONCE = Batch()


def parse_batch(text: str) -> Batch:
    """What `--batch` says: `1,10%,100%`. Raises UsageError for anything else, nothing and zero among it."""
    sizes = []
    for word in text.split(","):
        found = _SIZE.fullmatch(word.strip())
        size = BatchSize(int(found["number"]), found["percent"] == "%") if found else BatchSize(0)
        if size.number < 1:
            raise UsageError(f"'{printable(word.strip(), 60)}' is no size of a wave", _HINT)
        if size.percent and size.number > 100:
            raise UsageError(f"a wave of {size} of the devices: there are no more than 100%", _HINT)
        sizes.append(size)
    return Batch(tuple(sizes))


def make_waves(batch: Batch, devices: Sequence[Member]) -> tuple[tuple[str, ...], ...]:
    """The names of the devices of each wave; every device is in one, no wave is empty.

    The first device of each platform comes before all others, platforms with more devices first: so that the first
    waves try every platform. The others are spread so that each wave has the platforms in the fleet's proportion.
    Devices of one platform stay in the order in which they are given.
    """
    counts: dict[str, int] = {}
    numbered = []
    for name, platform in devices:
        number = counts[platform] = counts.get(platform, 0) + 1
        numbered.append((name, platform, number))

    def key(one: tuple[str, str, int]) -> tuple[bool, float, str]:
        _, platform, number = one
        total = counts[platform]
        return (False, -total, platform) if number == 1 else (True, (number - 0.5) / total, platform)

    names = [name for name, _, _ in sorted(numbered, key=key)]
    found: list[tuple[str, ...]] = []
    begin = 0
    while begin < len(names):
        size = batch.sizes[min(len(found), len(batch.sizes) - 1)].of(len(names))
        found.append(tuple(names[begin : begin + size]))
        begin += size
    return tuple(found)
