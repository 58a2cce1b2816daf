"""What happens in a rollout: what a terminal shows, and what its journal keeps (`DeviceSent` and waiting aside)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from polyarch.events import Event
from polyarch.fleet.outcomes import DeviceOutcome
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class RolloutBegun(Event):
    """A process begins with a rollout, or goes on with it (`resumed`): `devices` of them, in `waves`.

    `origin_bytes` came from registries for it before. Times (`at`) are seconds since 1970.
    """

    rollout: str
    devices: int
    waves: int
    resumed: bool
    at: float
    origin_bytes: int = 0


@dataclass(frozen=True, slots=True)
class WaveBegun(Event):
    """A wave, counted from 1, begins; `members` are its devices and their platforms, also those that have succeeded in
    it before the rollout was resumed.
    """

    wave: int
    members: Mapping[str, str]
    at: float

    def to_json(self) -> dict[str, object]:
        """How many devices, instead of which."""
        return {"event": "WaveBegun", "wave": self.wave, "devices": len(self.members), "at": self.at}


@dataclass(frozen=True, slots=True)
class WaveEnded(Event):
    """No device of the wave is under way any more."""

    wave: int
    at: float


@dataclass(frozen=True, slots=True)
class DeviceBegun(Event):
    """A device's turn has come."""

    device: str
    platform: str
    wave: int
    at: float


@dataclass(frozen=True, slots=True)
class DeviceSent(Event):
    """`bytes` of images have gone to the device so far, all attempts together."""

    device: str
    bytes: int


@dataclass(frozen=True, slots=True)
class _OfDevice(Event):
    """An outcome, of all attempts so far."""

    outcome: DeviceOutcome

    def to_json(self) -> dict[str, object]:
        """The outcome without its images."""
        one = self.outcome
        return {
            "event": type(self).__name__,
            "device": one.device,
            "platform": one.platform,
            "status": one.status,
            "wave": one.wave,
            "attempts": one.attempts,
            "bytes": one.bytes,
            "seconds": one.seconds,
            "reason_code": one.reason_code,
            "error": one.error,
        }


@dataclass(frozen=True, slots=True)
class DeviceTried(_OfDevice):
    """An attempt did not succeed, and the device will be tried again."""


@dataclass(frozen=True, slots=True)
class DeviceFinished(_OfDevice):
    """What became of a device; once for each."""


@dataclass(frozen=True, slots=True)
class PlatformStopped(Event):
    """The stop rule struck: no device of the platform, or of any (None), is begun any more."""

    platform: str | None
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class Pausing(Event):
    """Nothing happens for so many seconds: `pause` between waves, `retry` before devices are tried again."""

    seconds: float
    why: Literal["pause", "retry"]


@dataclass(frozen=True, slots=True)
class WaitingForOffline(Event):
    """All is done but for `devices` that are offline: they are waited for until `until`, and looked for at `next`."""

    devices: int
    next: float
    until: float


@dataclass(frozen=True, slots=True)
class RolloutEnded(Event):
    """The rollout is over; `cancelled` says that it was ended from here before its end, and can be resumed.

    `origin_bytes` came from registries for it since this process began with it, before and meanwhile.
    """

    rollout: str
    cancelled: bool
    at: float
    origin_bytes: int = 0
