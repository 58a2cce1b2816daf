"""Rollouts that never were, for tests of what people see of them: their records, and their events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from polyarch.fleet.facts import ENGINE_KINDS
from polyarch.fleet.outcomes import DeviceOutcome, DeviceStatus, ImageOutcome, Stop, Transport, WaveRecord
from polyarch.fleet.planned import VERDICTS, DevicePlan, ImagePlan, Plan, PlanSummary
from polyarch.fleet.reasons import ReasonCode
from polyarch.fleet.record import RolloutRecord, RolloutSettings, summarize
from polyarch.fleet.waves import make_waves, parse_batch
from polyarch.oci.digest import Digest, digest_of
from polyarch.selection.types import Match

BEGAN = 1_760_000_000.0
IMAGES = ("registry.example/shop/till:2.4", "registry.example/shop/sensor:1.9")
KINDS: tuple[tuple[str, str, str, Match, int], ...] = (
    # what devices are called, their platform, the variant's, how it matches, bytes of the first image
    ("server", "linux/amd64/v3", "linux/amd64", "compatible", 61_400_000),
    ("pi5", "linux/arm64", "linux/arm64", "exact", 58_100_000),
    ("gate", "linux/arm/v7", "linux/arm/v7", "exact", 49_700_000),
    ("zero", "linux/arm/v6", "linux/arm/v6", "exact", 47_300_000),
    ("edge", "linux/riscv64", "linux/amd64", "emulated", 61_400_000),
)


@dataclass(frozen=True)
class Fate:
    """What shall become of a device."""

    status: DeviceStatus = "pulled"
    reason_code: ReasonCode | None = None
    error: str | None = None
    transport: Transport | None = "tunnel"


UP_TO_DATE = Fate("up-to-date", transport=None)
FATES = (
    *(Fate(), Fate(), Fate(), UP_TO_DATE, Fate(transport="stream"), Fate()),
    Fate("failed", "no-space", "write /var/lib/docker/tmp/GetImageBlob1: no space left on device"),
    Fate(),
    Fate("offline", "offline", "connect to host 10.0.7.9 port 22: No route to host", None),
    *(Fate(), UP_TO_DATE, Fate()),
)


def digest(*words: object) -> Digest:
    """A digest that stands for these words."""
    return digest_of(repr(words).encode())


def image_plans(kind: int, present: bool) -> tuple[ImagePlan, ...]:
    """The images of a device of that kind."""
    _, _, variant, match, size = KINDS[kind]
    return tuple(
        ImagePlan(
            reference=name,
            digest=digest("index", name),
            manifest=digest("manifest", name, variant),
            repository=name.rpartition(":")[0],
            platform=variant,
            match=match,
            emulator="qemu-x86_64" if match == "emulated" else None,
            missing_bytes=0 if present else size // (1 + 3 * i),
            present=present,
            reason="no variant runs natively; linux/amd64 runs by qemu-x86_64" if match == "emulated" else None,
        )
        for i, name in enumerate(IMAGES)
    )


def _device_plan(name: str, kind: int, engine: int, fate: Fate) -> DevicePlan:
    images = image_plans(kind, fate == UP_TO_DATE)
    return DevicePlan(
        device=name,
        platform=KINDS[kind][1],
        override=None,
        match=KINDS[kind][3],
        engine=ENGINE_KINDS[engine % len(ENGINE_KINDS)],
        images=images,
        disk_free=9_300_000_000,
        disk_needed=3 * sum(image.missing_bytes for image in images),
        verdict="ready" if fate == UP_TO_DATE else "will-pull",
        reason="all is at hand" if fate == UP_TO_DATE else f"{IMAGES[0]}, {IMAGES[1]} are missing",
    )


def _outcome(plan: DevicePlan, fate: Fate, wave: int, began: float) -> DeviceOutcome:
    worked = fate.status in ("pulled", "failed")
    seconds = 3.0 + plan.missing_bytes / 12_000_000 + len(plan.device) % 5 if worked else 0.9
    good = fate.status in ("pulled", "up-to-date")
    images = tuple(
        ImageOutcome(
            one.reference,
            "failed" if fate.status == "failed" else "skipped" if not good else fate.status,  # type: ignore[arg-type]
            one.manifest,
            one.platform,
            one.match,
            digest("config", one.reference, one.platform) if good else None,
        )
        for one in plan.images
    )
    sent = {"pulled": plan.missing_bytes + 9_000, "failed": plan.missing_bytes // 3}.get(fate.status, 0)
    touched = fate.status != "skipped" and plan.verdict == "will-pull"
    return DeviceOutcome(
        device=plan.device,
        platform=plan.platform,
        status=fate.status,
        images=images,
        bytes=sent,
        seconds=round(seconds, 2) if touched else 0,
        reason_code=fate.reason_code,
        error=fate.error,
        engine=plan.engine,
        transport=fate.transport if touched else None,
        wave=wave if plan.verdict == "will-pull" else 0,
        attempts=1 if touched else 0,
        began=began or BEGAN,
        ended=began + seconds if touched else began or BEGAN,
    )


def rollout(
    count: int, fates: Sequence[Fate] = FATES, *, batch: str = "10%,35%,100%", forks: int = 10, stopped: bool = True
) -> RolloutRecord:
    """A rollout over `count` devices of five kinds, that meet these fates by turns.

    With `stopped`, all arm/v6 devices fail, until the stop rule strikes.
    """
    plans: dict[str, DevicePlan] = {}
    fate_of: dict[str, Fate] = {}
    numbers = [0] * len(KINDS)
    for i in range(count):
        kind = (0, 1, 1, 2, 3, 1, 0, 4)[i % 8]
        numbers[kind] += 1
        name = f"{KINDS[kind][0]}-{numbers[kind]}"
        fate = fates[(i * 7 + i // 8) % len(fates)]
        if stopped and kind == 3:
            fate = Fate("failed", "integrity", "the image at hand has another config than planned")
        fate_of[name] = fate
        plans[name] = _device_plan(name, kind, i, fate)
    coming = [(name, plan.platform or "") for name, plan in plans.items() if plan.verdict == "will-pull"]
    outcomes = {name: _outcome(plan, fate_of[name], 0, 0) for name, plan in plans.items() if plan.verdict == "ready"}
    waves, stops, now = [], [], BEGAN + 2
    for number, members in enumerate(make_waves(parse_batch(batch), coming), 1):
        free = [now + 0.15 * i for i in range(forks)]
        wave_began = now
        for name in members:
            fate = fate_of[name]
            if stops and plans[name].platform == "linux/arm/v6":
                fate = Fate("skipped", "stopped", "the stop rule struck for linux/arm/v6", None)
            free.sort()
            outcomes[name] = _outcome(plans[name], fate, number, free[0])
            free[0] = max(free[0], outcomes[name].ended)
        now = max(free) + 1
        waves.append(WaveRecord(number, members, wave_began, now - 1))
        if stopped and number == 1:
            reason = "1 of 1 device of linux/arm/v6 in the wave failed"
            stops.append(Stop("linux/arm/v6", reason, now - 1))
    return record(tuple(plans.values()), outcomes, tuple(waves), tuple(stops), batch=batch, ended=now)


def record(
    plans: tuple[DevicePlan, ...],
    outcomes: dict[str, DeviceOutcome],
    waves: tuple[WaveRecord, ...] = (),
    stops: tuple[Stop, ...] = (),
    *,
    batch: str = "100%",
    ended: float = BEGAN + 60,
) -> RolloutRecord:
    """A record made of these."""
    kinds = {image.manifest: image.missing_bytes for plan in plans for image in plan.images if image.missing_bytes}
    platforms = {plan.platform or "unknown": dict.fromkeys(VERDICTS, 0) for plan in plans}
    for plan in plans:
        platforms[plan.platform or "unknown"][plan.verdict] += 1
    origin = sum(kinds.values())
    moved = sum(plan.missing_bytes for plan in plans)
    return RolloutRecord(
        id="20251009-085320-3f9a",
        phase="ended",
        began=BEGAN,
        ended=ended,
        settings=replace(RolloutSettings(), batch=parse_batch(batch)),
        plan=Plan(plans, PlanSummary(len(plans), platforms, origin, moved)),
        waves=waves,
        outcomes=outcomes,
        stops=stops,
        summary=summarize(outcomes.values(), origin, ended - BEGAN),
    )
