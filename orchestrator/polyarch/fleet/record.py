"""A rollout as a whole: how it is to be done, and what is known of one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from typing import Literal, TypeAlias

from polyarch.errors import IntegrityError
from polyarch.fleet.json_values import time_of
from polyarch.fleet.outcomes import (
    DEVICE_STATUSES,
    DeviceOutcome,
    DeviceStatus,
    RolloutSummary,
    Stop,
    WaveRecord,
)
from polyarch.fleet.plan import UNKNOWN
from polyarch.fleet.planned import Plan
from polyarch.fleet.reasons import ReasonCode
from polyarch.fleet.stop_rule import BY_WAVE, StopRule, parse_max_fail
from polyarch.fleet.waves import ALL_AT_ONCE, Batch, parse_batch
from polyarch.oci.json import text_of
from polyarch_platforms.lazy_dataclass import dataclass

RolloutPhase: TypeAlias = Literal["running", "broken-off", "cancelled", "ended"]
"""`broken-off`: its process was killed. That, and `cancelled`, can be resumed."""


@dataclass(frozen=True, slots=True)
class RolloutSettings:
    """How a rollout goes through its devices.

    retries       further attempts for a device that failed for a reason that may pass
    pause         seconds between two waves
    wait_offline  seconds for which offline devices are waited for when all else is done; they are looked for between
                  waves, too; 0 for not at all
    """

    batch: Batch = ALL_AT_ONCE
    max_fail: StopRule = BY_WAVE
    retries: int = 0
    pause: float = 0
    wait_offline: float = 0

    def to_json(self) -> dict[str, object]:
        """For `settings_from_json`."""
        return {
            "batch": str(self.batch),
            "max_fail": str(self.max_fail),
            "retries": self.retries,
            "pause": self.pause,
            "wait_offline": self.wait_offline,
        }


def settings_from_json(document: Mapping[str, object]) -> RolloutSettings:
    """What `to_json` gave. Raises UsageError and IntegrityError for anything else."""
    retries = document.get("retries")
    if isinstance(retries, bool) or not isinstance(retries, int):
        raise IntegrityError("retries is no number")
    return RolloutSettings(
        parse_batch(text_of(document, "batch", "settings")),
        parse_max_fail(text_of(document, "max_fail", "settings")),
        retries,
        time_of(document, "pause"),
        time_of(document, "wait_offline"),
    )


@dataclass(frozen=True, slots=True)
class RolloutRecord:
    """A rollout as far as it has come.

    began, ended  seconds since 1970; `ended` is 0 where it has not
    command       what the session wrote down of the command: JSON values
    outcomes      by device, of those whose turn is over
    stops         what the stop rule struck
    summary       of `outcomes`
    """

    id: str
    phase: RolloutPhase
    began: float
    ended: float
    settings: RolloutSettings
    plan: Plan
    waves: tuple[WaveRecord, ...]
    outcomes: Mapping[str, DeviceOutcome]
    stops: tuple[Stop, ...]
    summary: RolloutSummary
    command: Mapping[str, object] = field(default_factory=dict)


def summarize(outcomes: Iterable[DeviceOutcome], origin_bytes: int, seconds: float) -> RolloutSummary:
    """The totals of these devices."""
    statuses = dict.fromkeys(DEVICE_STATUSES, 0)
    platforms: dict[str, dict[DeviceStatus, int]] = {}
    codes: dict[ReasonCode, int] = {}
    sent = 0
    for outcome in outcomes:
        statuses[outcome.status] += 1
        platforms.setdefault(outcome.platform or UNKNOWN, dict.fromkeys(DEVICE_STATUSES, 0))[outcome.status] += 1
        if outcome.reason_code is not None:
            codes[outcome.reason_code] = codes.get(outcome.reason_code, 0) + 1
        sent += outcome.bytes
    return RolloutSummary(
        sum(statuses.values()),
        statuses,
        {name: platforms[name] for name in sorted(platforms)},
        {code: codes[code] for code in sorted(codes)},
        origin_bytes,
        sent,
        seconds,
    )
