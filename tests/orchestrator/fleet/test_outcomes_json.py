"""Outcomes as JSON Lines, and read back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import IntegrityError
from polyarch.fleet.facts import ENGINE_KINDS
from polyarch.fleet.outcomes import DEVICE_STATUSES, IMAGE_STATUSES, TRANSPORTS, DeviceOutcome, ImageOutcome
from polyarch.fleet.outcomes_json import outcome_from_json, outcome_json, summary_json
from polyarch.fleet.planned import MATCHES
from polyarch.fleet.reasons import REASON_CODES
from polyarch.fleet.record import summarize
from support.fleet_plans import APP, digest

_MAYBE = st.none() | st.text(max_size=20)
_NUMBERS = st.integers(0, 1 << 50)
_TIMES = st.integers(0, 1 << 45).map(lambda milliseconds: milliseconds / 1000)
_CODES = st.none() | st.sampled_from(REASON_CODES)
_IMAGES = st.builds(
    ImageOutcome,
    st.text(),
    st.sampled_from(IMAGE_STATUSES),
    _MAYBE,
    _MAYBE,
    st.none() | st.sampled_from(MATCHES),
    _MAYBE,
    _CODES,
    _MAYBE,
)
_OUTCOMES = st.builds(
    DeviceOutcome,
    device=st.text(),
    platform=_MAYBE,
    status=st.sampled_from(DEVICE_STATUSES),
    images=st.lists(_IMAGES, max_size=3).map(tuple),
    bytes=_NUMBERS,
    seconds=_TIMES,
    reason_code=_CODES,
    error=_MAYBE,
    engine=st.none() | st.sampled_from(ENGINE_KINDS),
    transport=st.none() | st.sampled_from(TRANSPORTS),
    wave=_NUMBERS,
    attempts=_NUMBERS,
    began=_TIMES,
    ended=_TIMES,
)


@given(_OUTCOMES)
def test_an_outcome_is_read_back_as_it_was(outcome: DeviceOutcome) -> None:
    assert outcome_from_json(json.loads(json.dumps(outcome_json(outcome)))) == outcome


_OUTCOME = DeviceOutcome("pi", "linux/arm64", "pulled", (ImageOutcome(APP, "pulled", digest("m")),), 5, 1.5)


def test_the_keys_are_the_promised_ones() -> None:
    document = outcome_json(_OUTCOME)
    assert {"device", "platform", "status", "images", "bytes", "seconds", "reason_code", "error"} <= set(document)
    images = document["images"]
    assert isinstance(images, list)
    assert images[0]["reference"] == APP


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("device", None),
        ("status", "perhaps"),
        ("status", None),
        ("images", {}),
        ("images", [3]),
        ("images", [{"reference": "app"}]),
        ("bytes", -1),
        ("bytes", True),
        ("bytes", 1.5),
        ("seconds", "1"),
        ("seconds", float("nan")),
        ("seconds", float("inf")),
        ("reason_code", "because"),
        ("error", ["no"]),
        ("transport", "pigeon"),
        ("wave", None),
    ],
)
def test_anything_else_is_refused(key: str, value: Any) -> None:
    with pytest.raises(IntegrityError):
        outcome_from_json(outcome_json(_OUTCOME) | {key: value})


def test_the_summary_counts() -> None:
    failed = DeviceOutcome("v6", "linux/arm/v6", "failed", bytes=7, reason_code="no-space")
    gone = DeviceOutcome("gone", None, "offline", reason_code="offline")
    assert summary_json(summarize([_OUTCOME, failed, gone], 100, 2.00049)) == {
        "devices": 3,
        "statuses": {"pulled": 1, "up-to-date": 0, "failed": 1, "skipped": 0, "offline": 1},
        "platforms": {
            "linux/arm/v6": {"pulled": 0, "up-to-date": 0, "failed": 1, "skipped": 0, "offline": 0},
            "linux/arm64": {"pulled": 1, "up-to-date": 0, "failed": 0, "skipped": 0, "offline": 0},
            "unknown": {"pulled": 0, "up-to-date": 0, "failed": 0, "skipped": 0, "offline": 1},
        },
        "reason_codes": {"no-space": 1, "offline": 1},
        "origin_bytes": 100,
        "bytes": 12,
        "seconds": 2.0,
    }
