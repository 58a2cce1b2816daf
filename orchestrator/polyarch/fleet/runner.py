"""What a rollout stands on: something that brings devices what their plans say, once, and tells what became of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Protocol, TypeAlias

from polyarch.fleet.outcomes import DeviceOutcome
from polyarch.fleet.planned import DevicePlan
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Begun:
    """A device's turn has come, at `at` (seconds since 1970)."""

    device: str
    at: float


@dataclass(frozen=True, slots=True)
class Sent:
    """`bytes` of images have gone to the device so far, in this attempt."""

    device: str
    bytes: int


Happening: TypeAlias = Begun | Sent | DeviceOutcome


class Attempt(Protocol):
    """Devices under way."""

    def __iter__(self) -> Iterator[Happening]:
        """What happens, as it happens: for each device one outcome, of this attempt alone (`wave` 0, `attempts` 1).

        A device that was skipped has the status `skipped` and the reason code `stopped`.
        """

    def skip(self, devices: Iterable[str]) -> None:
        """Do not begin with these any more; those that have begun go on. From any thread."""

    def end(self) -> None:
        """End what is under way: what has not ended fails with the reason code `interrupted`. From any thread."""


class Runner(Protocol):
    """Brings devices what their plans say."""

    def attempt(self, devices: Sequence[DevicePlan]) -> AbstractContextManager[Attempt]:
        """Begin with these devices, whose verdict is `will-pull`; several at once."""
