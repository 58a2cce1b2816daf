"""A plan: what each device of a fleet shall get, and what it would take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, TypeAlias

from polyarch.fleet.facts import EngineKind
from polyarch.fleet.outcomes import Transport
from polyarch.fleet.reasons import ReasonCode
from polyarch.oci.digest import Digest
from polyarch.selection.types import EmulationPolicy, Match
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

FleetVerdict: TypeAlias = Literal["ready", "will-pull", "cannot"]
VERDICTS: tuple[FleetVerdict, ...] = ("ready", "will-pull", "cannot")
MATCHES: tuple[Match, ...] = ("exact", "compatible", "emulated")
"""Best first."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a device shall get: whole names of images; and where the inventory says so, by what engine, and for which
    platform instead of its own.
    """

    device: str
    images: tuple[str, ...]
    engine: EngineKind | None = None
    platform: Platform | None = None


@dataclass(frozen=True, slots=True)
class PlanSettings:
    """`engine` and `platform` are for every device and go before what its wish says; `held` are the digests that this
    machine has already, so that they need not come from the origin. With `check` a device has its turn though it has
    all images: a command is to succeed there. `transport` is the only way that may be taken, and `sends_input` whether
    the fleet engine can send bytes to a device.
    """

    emulation: EmulationPolicy = "auto"
    engine: EngineKind | None = None
    platform: Platform | None = None
    held: frozenset[Digest] = frozenset()
    check: bool = False
    transport: Transport | None = None
    sends_input: bool = True


@dataclass(frozen=True, slots=True)
class ImagePlan:
    """One image on one device.

    reference      the name asked for, whole
    digest         what its name stands for; None, as the next three, where nothing was chosen
    manifest       the variant's manifest, in `repository`: another than the name's where a convention led there
    platform       what the variant is for, and `match` how it runs
    emulator       by which program, where it is emulated
    unproven       the variant states no variant of its own: only its programs can prove that it runs
    missing_bytes  what has to travel to the device; a blob of several of its images counts for the first
    present        the device has it under this name
    reason         a sentence where there is something to say, and `reason_code` where it cannot be
    """

    reference: str
    digest: Digest | None = None
    manifest: Digest | None = None
    repository: str | None = None
    platform: str | None = None
    match: Match | None = None
    emulator: str | None = None
    unproven: bool = False
    missing_bytes: int = 0
    present: bool = False
    reason: str | None = None
    reason_code: ReasonCode | None = None

    @property
    def comes(self) -> bool:
        """It is not there, and can be."""
        return not self.present and self.reason_code is None


@dataclass(frozen=True, slots=True)
class DevicePlan:
    """One device: its platform, the one asked for instead (`override`), the poorest match of its images, the engine.

    With the verdict `will-pull`, too, `reason_code` says why one of its images cannot be: the others come.
    `disk_needed` is an estimate of the bytes that its images need when unpacked; `disk_free` is None if unknown.
    """

    device: str
    platform: str | None
    override: str | None
    match: Match | None
    engine: EngineKind | None
    images: tuple[ImagePlan, ...]
    disk_free: int | None
    disk_needed: int
    verdict: FleetVerdict
    reason: str
    reason_code: ReasonCode | None = None

    @property
    def missing_bytes(self) -> int:
        """Bytes that travel to it."""
        return sum(image.missing_bytes for image in self.images) if self.verdict == "will-pull" else 0


@dataclass(frozen=True, slots=True)
class PlanSummary:
    """Devices by platform and verdict; the bytes of configs and layers that come from the origin, each blob once, and
    those that go to devices.
    """

    devices: int
    platforms: Mapping[str, Mapping[FleetVerdict, int]]
    origin_bytes: int
    transfer_bytes: int


@dataclass(frozen=True, slots=True)
class Plan:
    """A line a device, in the order in which they were asked for."""

    devices: tuple[DevicePlan, ...]
    summary: PlanSummary
