"""Outcomes as JSON Lines: a line a device, a summary at the end; and read back."""

from __future__ import annotations

from collections.abc import Mapping

from polyarch.fleet.facts import ENGINE_KINDS
from polyarch.fleet.json_values import number_of, time_of, word_of, word_or_none
from polyarch.fleet.outcomes import (
    DEVICE_STATUSES,
    IMAGE_STATUSES,
    TRANSPORTS,
    DeviceOutcome,
    ImageOutcome,
    RolloutSummary,
)
from polyarch.fleet.planned import MATCHES
from polyarch.fleet.reasons import REASON_CODES
from polyarch.oci.json import list_of, mapping_of, text_of


def outcome_json(outcome: DeviceOutcome) -> dict[str, object]:
    """For one JSON line, with the keys that the command line promises, and further ones."""
    return {
        "device": outcome.device,
        "platform": outcome.platform,
        "status": outcome.status,
        "images": [_image_json(image) for image in outcome.images],
        "bytes": outcome.bytes,
        "seconds": round(outcome.seconds, 3),
        "reason_code": outcome.reason_code,
        "error": outcome.error,
        "engine": outcome.engine,
        "transport": outcome.transport,
        "wave": outcome.wave,
        "attempts": outcome.attempts,
        "began": round(outcome.began, 3),
        "ended": round(outcome.ended, 3),
    }


def _image_json(image: ImageOutcome) -> dict[str, object]:
    return {
        "reference": image.reference,
        "status": image.status,
        "manifest": image.manifest,
        "platform": image.platform,
        "match": image.match,
        "at_hand": image.at_hand,
        "reason_code": image.reason_code,
        "error": image.error,
    }


def outcome_from_json(document: Mapping[str, object]) -> DeviceOutcome:
    """What `outcome_json` gave, times to the millisecond. Raises IntegrityError for anything else."""
    images = list_of(document.get("images"), "images")
    return DeviceOutcome(
        device=text_of(document, "device", "an outcome"),
        platform=_text(document, "platform"),
        status=word_of(document, "status", DEVICE_STATUSES),
        images=tuple(_image(mapping_of(one, "image")) for one in images),
        bytes=number_of(document, "bytes"),
        seconds=time_of(document, "seconds"),
        reason_code=word_or_none(document, "reason_code", REASON_CODES),
        error=_text(document, "error"),
        engine=word_or_none(document, "engine", ENGINE_KINDS),
        transport=word_or_none(document, "transport", TRANSPORTS),
        wave=number_of(document, "wave"),
        attempts=number_of(document, "attempts"),
        began=time_of(document, "began"),
        ended=time_of(document, "ended"),
    )


def _image(document: Mapping[str, object]) -> ImageOutcome:
    return ImageOutcome(
        reference=text_of(document, "reference", "an image"),
        status=word_of(document, "status", IMAGE_STATUSES),
        manifest=_text(document, "manifest"),
        platform=_text(document, "platform"),
        match=word_or_none(document, "match", MATCHES),
        at_hand=_text(document, "at_hand"),
        reason_code=word_or_none(document, "reason_code", REASON_CODES),
        error=_text(document, "error"),
    )


def summary_json(summary: RolloutSummary) -> dict[str, object]:
    """What stands under `summary` in the last line."""
    return {
        "devices": summary.devices,
        "statuses": dict(summary.statuses),
        "platforms": {platform: dict(counts) for platform, counts in summary.platforms.items()},
        "reason_codes": dict(summary.reason_codes),
        "origin_bytes": summary.origin_bytes,
        "bytes": summary.bytes,
        "seconds": round(summary.seconds, 3),
    }


def _text(document: Mapping[str, object], key: str) -> str | None:
    return None if document.get(key) is None else text_of(document, key, "an outcome")
