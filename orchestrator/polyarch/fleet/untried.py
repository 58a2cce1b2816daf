"""Outcomes of devices that no runner was asked for, and what is done to those that one gave. Pure."""

from __future__ import annotations

import re
from dataclasses import replace

from polyarch.errors import printable
from polyarch.fleet.outcomes import DeviceOutcome, DeviceStatus, ImageOutcome, ImageStatus
from polyarch.fleet.planned import DevicePlan, ImagePlan
from polyarch.fleet.reasons import ReasonCode

_ONE_TIME = re.compile(r"(polyarch/)[0-9a-f]{32}")


def untried(
    plan: DevicePlan, status: DeviceStatus, at: float, code: ReasonCode | None = None, error: str | None = None
) -> DeviceOutcome:
    """A device whose turn ends without an attempt at it, at `at`."""
    return DeviceOutcome(
        device=plan.device,
        platform=plan.platform,
        status=status,
        images=tuple(_image(image, status) for image in plan.images),
        reason_code=code,
        error=None if error is None else printable(error),
        engine=plan.engine,
        began=at,
        ended=at,
    )


def _image(plan: ImagePlan, device: DeviceStatus) -> ImageOutcome:
    status: ImageStatus = "up-to-date" if device == "up-to-date" or (device == "failed" and plan.present) else "skipped"
    if plan.reason_code is not None:
        status = "failed"
    return ImageOutcome(
        plan.reference,
        status,
        plan.manifest,
        plan.platform,
        plan.match,
        reason_code=plan.reason_code,
        error=plan.reason if plan.reason_code else None,
    )


def brought(outcome: DeviceOutcome, plan: DevicePlan) -> DeviceOutcome:
    """Of a device, and of images, that are up to date because an earlier attempt of this rollout pulled them: `pulled`.

    `plan` is that from before the first attempt.
    """
    present = {image.reference for image in plan.images if image.present}
    images = tuple(
        replace(image, status="pulled") if image.status == "up-to-date" and image.reference not in present else image
        for image in outcome.images
    )
    return replace(outcome, status="pulled" if outcome.status == "up-to-date" else outcome.status, images=images)


def shown(outcome: DeviceOutcome) -> DeviceOutcome:
    """The outcome without one-time paths, and without what is not seen: engines put both into their errors."""
    return replace(
        outcome,
        error=_text(outcome.error),
        images=tuple(replace(image, error=_text(image.error)) if image.error else image for image in outcome.images),
    )


def _text(error: str | None) -> str | None:
    return None if error is None else printable(_ONE_TIME.sub(r"\1…", error))
