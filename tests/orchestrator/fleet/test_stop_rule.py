"""The stop rule, by tables."""

from __future__ import annotations

import pytest

from polyarch.errors import UsageError
from polyarch.fleet.outcomes import DeviceOutcome, DeviceStatus
from polyarch.fleet.reasons import ReasonCode
from polyarch.fleet.stop_rule import Sign, StopRule, Tally, parse_max_fail, sign_of, strikes

V6, ARM64, AMD64 = "linux/arm/v6", "linux/arm64", "linux/amd64"


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("", StopRule()),
        ("0", StopRule("count", 0)),
        (" 3 ", StopRule("count", 3)),
        ("0%", StopRule("percent", 0)),
        ("20%", StopRule("percent", 20)),
        ("100%", StopRule("percent", 100)),
    ],
)
def test_rules_are_read_and_written(text: str, rule: StopRule) -> None:
    assert parse_max_fail(text) == rule
    assert str(rule) == text.strip()


@pytest.mark.parametrize("text", [" ", "-1", "101%", "5.5", "half", "1,2", "%", "1" * 10, "٣"])
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_max_fail(text)
    assert caught.value.hint


@pytest.mark.parametrize(
    ("status", "code", "sign"),
    [
        ("pulled", None, "succeeded"),
        ("up-to-date", None, "succeeded"),
        ("failed", "no-space", "failed"),
        ("failed", "check", "failed"),
        ("failed", "timeout", "failed"),
        ("failed", None, "failed"),
        ("failed", "interrupted", "nothing"),
        ("failed", "held", "nothing"),
        ("offline", "offline", "nothing"),
        ("skipped", "stopped", "nothing"),
    ],
)
def test_what_counts_as_a_failure(status: DeviceStatus, code: ReasonCode | None, sign: Sign) -> None:
    assert sign_of(DeviceOutcome("pi", None, status, reason_code=code)) == sign


# devices of the wave, succeeded, failed, neither; failures of earlier waves are added to those of this one
@pytest.mark.parametrize(
    ("rule", "wave", "before", "stopped", "struck"),
    [
        # without --max-fail: when a platform's turn in the wave is over, and nothing of it succeeded
        ("", {V6: (3, 0, 2, 0)}, {}, (), ()),
        ("", {V6: (3, 0, 3, 0), ARM64: (3, 0, 0, 0)}, {}, (), (V6,)),
        ("", {V6: (3, 1, 2, 0), ARM64: (3, 0, 0, 0)}, {}, (), ()),
        ("", {V6: (3, 0, 1, 2), ARM64: (3, 3, 0, 0)}, {}, (), (V6,)),  # the others were offline
        ("", {V6: (3, 0, 0, 3), ARM64: (3, 3, 0, 0)}, {}, (), ()),  # offline has not failed
        ("", {V6: (2, 0, 2, 0), ARM64: (2, 0, 2, 0)}, {}, (), (V6, ARM64, None)),
        ("", {V6: (2, 0, 2, 0), ARM64: (2, 0, 2, 0)}, {}, (V6,), (ARM64, None)),
        ("", {V6: (2, 0, 2, 0), ARM64: (2, 0, 0, 2)}, {}, (), (V6,)),
        ("", {V6: (1, 0, 1, 0)}, {}, (), (V6, None)),
        ("", {V6: (1, 1, 0, 0)}, {V6: 50}, (), ()),
        # a number: of a platform, and of those together that are not stopped
        ("2", {V6: (9, 0, 2, 0)}, {}, (), ()),
        ("2", {V6: (9, 0, 3, 0), ARM64: (9, 0, 0, 0)}, {}, (), (V6,)),
        ("2", {V6: (9, 0, 1, 0), ARM64: (9, 0, 0, 0)}, {V6: 2}, (), (V6,)),
        ("2", {V6: (9, 0, 2, 0), ARM64: (9, 0, 1, 0)}, {}, (), (None,)),
        ("2", {V6: (9, 0, 3, 0), ARM64: (9, 0, 2, 0)}, {}, (), (V6,)),
        ("2", {V6: (9, 0, 3, 0), ARM64: (9, 0, 2, 0), AMD64: (9, 0, 1, 0)}, {}, (V6,), (None,)),
        ("2", {ARM64: (9, 0, 2, 0)}, {V6: 7, AMD64: 1}, (V6,), (None,)),
        ("2", {ARM64: (9, 0, 2, 0)}, {V6: 7}, (V6,), ()),
        ("0", {V6: (9, 0, 1, 0), ARM64: (9, 0, 0, 0)}, {}, (), (V6,)),
        ("5", {V6: (1, 0, 1, 0)}, {}, (), ()),  # so many may fail, also as a whole wave
        # a percentage: of the platform's devices in the wave
        ("20%", {V6: (10, 0, 2, 0), ARM64: (90, 0, 0, 0)}, {}, (), ()),
        ("20%", {V6: (10, 0, 3, 0), ARM64: (90, 0, 0, 0)}, {}, (), (V6,)),
        ("20%", {V6: (10, 0, 10, 0), ARM64: (90, 0, 18, 0)}, {}, (V6,), ()),
        ("20%", {V6: (10, 0, 10, 0), ARM64: (90, 0, 19, 0)}, {}, (V6,), (ARM64,)),
        ("20%", {V6: (10, 0, 0, 0)}, {V6: 9}, (), ()),
        ("20%", {V6: (1, 0, 1, 0), ARM64: (1, 1, 0, 0)}, {}, (), (V6,)),
        ("20%", {V6: (1, 0, 1, 0), ARM64: (1, 0, 1, 0)}, {}, (), (V6, ARM64, None)),
        ("20%", {V6: (5, 0, 2, 3), ARM64: (1, 0, 1, 0)}, {}, (V6,), (ARM64, None)),
        ("0%", {V6: (10, 9, 1, 0), ARM64: (90, 0, 0, 0)}, {}, (), (V6,)),
        ("100%", {V6: (3, 0, 3, 0), ARM64: (2, 0, 2, 0)}, {}, (), ()),
        # what is stopped is stopped
        ("0", {V6: (3, 0, 3, 0)}, {}, (None,), ()),
        ("", {}, {}, (), ()),
    ],
)
def test_what_is_stopped(
    rule: str,
    wave: dict[str, tuple[int, int, int, int]],
    before: dict[str, int],
    stopped: tuple[str | None, ...],
    struck: tuple[str | None, ...],
) -> None:
    failed = dict(before)
    for platform, (_, _, count, _) in wave.items():
        failed[platform] = failed.get(platform, 0) + count
    found = strikes(
        parse_max_fail(rule), {platform: Tally(*counts) for platform, counts in wave.items()}, failed, stopped
    )
    assert tuple(found) == struck
    assert all("failed" in reason for reason in found.values())
