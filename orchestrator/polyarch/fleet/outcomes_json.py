"""Outcomes as JSON Lines: a line a device, a summary at the end; and read back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

from polyarch.errors import IntegrityError, printable
from polyarch.fleet.facts import ENGINE_KINDS
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

_Word = TypeVar("_Word", bound=str)


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
        status=_needed(document, "status", DEVICE_STATUSES),
        images=tuple(_image(mapping_of(one, "image")) for one in images),
        bytes=_number(document, "bytes"),
        seconds=time_of(document, "seconds"),
        reason_code=_word(document, "reason_code", REASON_CODES),
        error=_text(document, "error"),
        engine=_word(document, "engine", ENGINE_KINDS),
        transport=_word(document, "transport", TRANSPORTS),
        wave=_number(document, "wave"),
        attempts=_number(document, "attempts"),
        began=time_of(document, "began"),
        ended=time_of(document, "ended"),
    )


def _image(document: Mapping[str, object]) -> ImageOutcome:
    return ImageOutcome(
        reference=text_of(document, "reference", "an image"),
        status=_needed(document, "status", IMAGE_STATUSES),
        manifest=_text(document, "manifest"),
        platform=_text(document, "platform"),
        match=_word(document, "match", MATCHES),
        at_hand=_text(document, "at_hand"),
        reason_code=_word(document, "reason_code", REASON_CODES),
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


def _word(document: Mapping[str, object], key: str, words: tuple[_Word, ...]) -> _Word | None:
    return None if document.get(key) is None else _needed(document, key, words)


def _needed(document: Mapping[str, object], key: str, words: tuple[_Word, ...]) -> _Word:
    value = document.get(key)
    for word in words:
        if word == value:
            return word
    raise IntegrityError(f"{key} is {printable(str(value), 60)!r}, not one of {', '.join(words)}")


def _number(document: Mapping[str, object], key: str) -> int:
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise IntegrityError(f"{key} is {printable(str(value), 60)!r}, not a number")
    return value


def time_of(document: Mapping[str, object], key: str) -> float:
    """The seconds under `key`. Raises IntegrityError."""
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise IntegrityError(f"{key} is {printable(str(value), 60)!r}, not a time")
    return float(value)
