"""What a rollout's end means for the command: the error, and so the exit code."""

from __future__ import annotations

from collections.abc import Mapping

from polyarch.errors import (
    HostError,
    IntegrityError,
    InterruptedPull,
    NotFoundError,
    NoVariantError,
    PartialError,
    PolyarchError,
    StorageError,
    UnauthorizedError,
    UnreachableError,
)
from polyarch.fleet.outcomes import SUCCEEDED
from polyarch.fleet.planned import Plan
from polyarch.fleet.reasons import ReasonCode
from polyarch.fleet.record import RolloutRecord

ERROR_OF: Mapping[ReasonCode, type[PolyarchError]] = {
    "not-found": NotFoundError,
    "no-variant": NoVariantError,
    "no-engine": HostError,
    "no-space": StorageError,
    "disk": StorageError,
    "no-forwarding": HostError,
    "unauthorized": UnauthorizedError,
    "unreachable": UnreachableError,
    "offline": PartialError,
    "host-key": UnauthorizedError,
    "timeout": UnreachableError,
    "integrity": IntegrityError,
    "interrupted": InterruptedPull,
    "stopped": PartialError,
    "check": PartialError,
    "held": StorageError,
    "internal": PolyarchError,
}
"""The error of a rollout in which every device that was tried failed for this reason.

`offline` and `check` are partial: nothing is wrong with what could be done, and an image whose check failed has come.
`held` is a lock that another process has. `host-key` is about who is who, as `unauthorized` is.
"""


def failure_of(record: RolloutRecord) -> PolyarchError | None:
    """The error that the command ends with; None where every device has what it should.

    Cancelled before its end: InterruptedPull. Some devices succeeded, or some were offline: PartialError. Else, where
    all failed for the same reason, devices that were skipped because of it aside, that reason's error; PartialError
    where reasons differ.
    """
    statuses = record.summary.statuses
    good, failed = sum(statuses[status] for status in SUCCEEDED), statuses["failed"]
    bad = len(record.plan.devices) - good
    if not bad:
        return None
    words = [f"{count} {word}" for word, count in _counts(record).items() if count]
    message = f"{bad} of {len(record.plan.devices)} devices do not have what they should: {', '.join(words)}"
    if record.phase != "ended":
        return InterruptedPull(message, "go on with: polyarch fleet pull --resume", rollout=record.id)
    codes = {one.reason_code or "internal" for one in record.outcomes.values() if one.status == "failed"}
    alike = not good and not statuses["offline"] and len(codes) == 1
    kind = ERROR_OF[codes.pop()] if alike else PartialError
    retry = "@failed" if failed else "@offline"
    first = next((one for one in record.outcomes.values() if one.status == "failed" and one.error), None)
    if first is not None and first.error is not None:
        message += f"; {first.device}: {first.error}" if failed == 1 else f"; the first, {first.device}: {first.error}"
    return kind(message, f"when it is mended, repeat these alone: --limit {retry}", rollout=record.id)


def plan_failure(plan: Plan) -> PolyarchError | None:
    """The error of a plan by which some devices cannot get what they should: that of the reason, where it is the same
    for all devices, else PartialError.
    """
    cannot = [one for one in plan.devices if one.verdict == "cannot" or one.reason_code is not None]
    if not cannot:
        return None
    codes = {one.reason_code or "internal" for one in cannot}
    kind = ERROR_OF[codes.pop()] if len(codes) == 1 and len(cannot) == len(plan.devices) else PartialError
    first = cannot[0]
    message = f"{len(cannot)} of {len(plan.devices)} devices cannot get what they should; "
    return kind(message + f"{'the first, ' if len(cannot) > 1 else ''}{first.device}: {first.reason}")


def _counts(record: RolloutRecord) -> dict[str, int]:
    statuses = record.summary.statuses
    return {
        "failed": statuses["failed"],
        "offline": statuses["offline"],
        "skipped": statuses["skipped"],
        "not begun": len(record.plan.devices) - record.summary.devices,
    }
