"""Fleet engines: what reaches the devices of a fleet and runs scripts there.

Nothing of this supposes that devices are reached by SSH, nor that they are called: an engine whose devices call out
(agents at a message queue) gives them their tasks when they come.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import field
from typing import Literal, Protocol, TypeAlias, runtime_checkable

from polyarch_platforms.lazy_dataclass import dataclass

FleetStatus: TypeAlias = Literal[
    "done",
    "failed",
    "offline",
    "unreachable",
    "unauthorized",
    "host-key",
    "no-forwarding",
    "timeout",
    "skipped",
    "interrupted",
]
"""How a task went.

done           the script ended with 0
failed         it ended with another code
offline        the device could not be connected to: nothing answers there, or it has no address
unreachable    the connection broke after it stood
unauthorized   the device let nobody in: a key or password is wrong, or was asked for
host-key       the device shows another key than the one that is known, or none is known
no-forwarding  the device, or the way to it, does not let it reach this machine
timeout        it took longer than it may
skipped        it was not begun
interrupted    it was ended from here
"""

MAX_OUTPUT = 4 << 20
"""Characters of a script's output, and as many of its errors, that a result keeps: the rest is cut off."""


@dataclass(frozen=True, slots=True)
class FleetDevice:
    """A device of a fleet: its name in the inventory, its groups, outer ones too, and its variables (JSON values).

    Variables may hold passwords: they are shown and kept nowhere.
    """

    name: str
    groups: tuple[str, ...] = ()
    variables: Mapping[str, object] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class FleetTask:
    """What one device is to do: the script of all, with these `values` as shell variables (NAME -> text)."""

    device: FleetDevice
    values: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True)
class FleetStarted:
    """A task was begun on a device, at `at` (seconds since 1970, this machine's clock)."""

    device: str
    at: float


@dataclass(frozen=True, slots=True)
class FleetResult:
    """How a task went: what the script wrote, however it was decoded, and between which times it ran.

    `code` is the exit code of the script, None where it did not end by itself. `error` is what the script wrote to its
    standard error, or what the engine says of the fault. Times are seconds since 1970 by this machine's clock.
    """

    device: str
    status: FleetStatus
    output: str = ""
    error: str = ""
    code: int | None = None
    began: float = 0
    ended: float = 0


class FleetRun(Protocol):
    """Tasks under way. One thread goes through it; `skip` and `end` may be called from any."""

    def __iter__(self) -> Iterator[FleetStarted | FleetResult]:
        """What happens, as it happens: exactly one result for each task, whatever becomes of it."""

    def skip(self, devices: Iterable[str]) -> None:
        """Do not begin with these devices any more; those that have begun go on."""

    def end(self) -> None:
        """End what is under way: the results of what has not ended say `interrupted`."""


class FleetEngine(Protocol):
    """Reaches the devices of a fleet. No port is opened but on loopback, and no credential goes to a device."""

    def devices(self, inventory: Sequence[str], pattern: str) -> Sequence[FleetDevice]:
        """The devices that `pattern` selects, "" for all, of an inventory in the engine's own words.

        An empty `inventory` is the engine's own default. Raises UsageError for a broken inventory, a name that is
        unknown, and an empty selection; HostError where a program is missing.
        """

    def run(
        self,
        script: str,
        tasks: Sequence[FleetTask],
        *,
        forks: int,
        timeout: float,
        reach: int | None = None,
        must_reach: bool = True,
    ) -> AbstractContextManager[FleetRun]:
        """Run a POSIX sh script on each device, `forks` at once, `timeout` seconds each.

        `reach` is a port of this machine's loopback that every device shall reach at its own loopback while its script
        runs: at the port that the engine gives the script as the variable `port`. Where that cannot be, the device's
        result is `no-forwarding` and the script was not run; without `must_reach` it runs all the same, and can see for
        itself whether anything listens at `port`.

        Leaving the context ends what is under way, and all that was started for it, also where this process is killed.
        """


@runtime_checkable
class SendsInput(Protocol):
    """An engine that can send bytes to the standard input of scripts."""

    def run_with_input(
        self,
        script: str,
        tasks: Sequence[FleetTask],
        inputs: Mapping[str, Callable[[], Iterable[bytes]]],
        *,
        forks: int,
        timeout: float,
    ) -> AbstractContextManager[FleetRun]:
        """As `FleetEngine.run`; each device's script reads on its standard input what `inputs` (by name) gives."""
