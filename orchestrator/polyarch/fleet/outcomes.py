"""What became of the devices of a rollout."""

from __future__ import annotations

from typing import Literal, TypeAlias, get_args

from polyarch.fleet.facts import EngineKind
from polyarch.fleet.reasons import ReasonCode
from polyarch.oci.digest import Digest
from polyarch.selection.types import Match
from polyarch_platforms.lazy_dataclass import dataclass

DeviceStatus: TypeAlias = Literal["pulled", "up-to-date", "failed", "skipped", "offline"]
DEVICE_STATUSES: tuple[DeviceStatus, ...] = get_args(DeviceStatus)
SUCCEEDED: tuple[DeviceStatus, ...] = ("pulled", "up-to-date")

ImageStatus: TypeAlias = Literal["pulled", "up-to-date", "failed", "skipped"]
IMAGE_STATUSES: tuple[ImageStatus, ...] = get_args(ImageStatus)

Transport: TypeAlias = Literal["tunnel", "stream", "direct"]
TRANSPORTS: tuple[Transport, ...] = get_args(Transport)


@dataclass(frozen=True, slots=True)
class ImageOutcome:
    """One image on one device.

    `manifest`, `platform` and `match` are the plan's. `at_hand` is the digest that the device's engine told of the name
    at the end: that of the config (docker, podman) or of the manifest (containerd, an OCI layout); None if it was not
    asked. `reason_code` and `error` say why it is not as planned.
    """

    reference: str
    status: ImageStatus
    manifest: Digest | None = None
    platform: str | None = None
    match: Match | None = None
    at_hand: Digest | None = None
    reason_code: ReasonCode | None = None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DeviceOutcome:
    """One device at the end of its turn.

    platform   of the device; None where there are no facts
    bytes      of blobs and documents that were sent to it, all attempts together
    seconds    that it took, all attempts together; `began` and `ended` are seconds since 1970
    wave       counted from 1; 0 for one that no wave came to
    attempts   how often it was tried
    """

    device: str
    platform: str | None
    status: DeviceStatus
    images: tuple[ImageOutcome, ...] = ()
    bytes: int = 0
    seconds: float = 0
    reason_code: ReasonCode | None = None
    error: str | None = None
    engine: EngineKind | None = None
    transport: Transport | None = None
    wave: int = 0
    attempts: int = 0
    began: float = 0
    ended: float = 0


@dataclass(frozen=True, slots=True)
class WaveRecord:
    """A wave: which devices it has, and when it began and ended; 0 where it did not."""

    number: int
    devices: tuple[str, ...]
    began: float = 0
    ended: float = 0


@dataclass(frozen=True, slots=True)
class Stop:
    """The stop rule struck at `at`: for devices of `platform`, or for all (None). `reason` is a sentence."""

    platform: str | None
    reason: str
    at: float


@dataclass(frozen=True, slots=True)
class RolloutSummary:
    """The totals of a rollout: devices by status, by platform and status, and by reason code; bytes from the origin
    (by the controller's own transfers) and to devices.
    """

    devices: int
    statuses: dict[DeviceStatus, int]
    platforms: dict[str, dict[DeviceStatus, int]]
    reason_codes: dict[ReasonCode, int]
    origin_bytes: int
    bytes: int
    seconds: float
