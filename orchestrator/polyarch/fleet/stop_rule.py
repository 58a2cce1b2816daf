"""When a rollout stops by itself: pure.

Failures are counted for each platform by itself and for all together. A platform that is stopped no longer counts for
all: the others are judged without it. A device that is offline has not failed, nor has one that another rollout holds,
or that was ended from here: such say nothing of the images.

--max-fail N   N failures are allowed, of a platform and of all, in the rollout so far. One more stops.
--max-fail P%  P percent of a wave's devices may fail, of a platform and of all. One more stops, while the wave runs,
               and a wave of which every platform failed wholly stops all. As with Ansible's `max_fail_percentage`,
               the percentage must be exceeded: 0% stops at the first failure, 100% never.
without it     A platform all of whose devices in a wave failed is stopped before the next wave. A wave of which every
               platform failed so stops all.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Literal, TypeAlias

from polyarch.errors import UsageError, printable
from polyarch.fleet.outcomes import SUCCEEDED, DeviceOutcome
from polyarch.fleet.reasons import ReasonCode
from polyarch_platforms.lazy_dataclass import dataclass

_LIMIT = re.compile(r"(?P<number>[0-9]{1,9})(?P<percent>%?)")
_NO_FAILURE: tuple[ReasonCode, ...] = ("interrupted", "held", "stopped", "offline")

Sign: TypeAlias = Literal["succeeded", "failed", "nothing"]
"""What an outcome says of the images."""


@dataclass(frozen=True, slots=True)
class StopRule:
    """`limit` is a number of failures (`count`) or of percent of a wave (`percent`); `wave` is the rule without one."""

    kind: Literal["wave", "count", "percent"] = "wave"
    limit: int = 0

    def __str__(self) -> str:
        return {"wave": "", "count": str(self.limit), "percent": f"{self.limit}%"}[self.kind]


BY_WAVE = StopRule()


@dataclass(frozen=True, slots=True)
class Tally:
    """Devices of one platform in the wave: all, and of those whose turn is over: succeeded, failed, neither of them."""

    devices: int
    succeeded: int = 0
    failed: int = 0
    nothing: int = 0

    @property
    def all_failed(self) -> bool:
        """Its devices' turns are over, some failed, and none succeeded."""
        return self.failed > 0 and self.succeeded + self.failed + self.nothing == self.devices and not self.succeeded


def parse_max_fail(text: str) -> StopRule:
    """What `--max-fail` says: `3`, `20%`; "" is the rule without it. Raises UsageError for anything else."""
    if not text:
        return BY_WAVE
    found = _LIMIT.fullmatch(text.strip())
    hint = "write how many devices may fail, or how many percent of a wave: --max-fail 3, --max-fail 20%"
    if found is None:
        raise UsageError(f"--max-fail '{printable(text, 60)}' is neither a number nor a percentage", hint)
    rule = StopRule("percent" if found["percent"] else "count", int(found["number"]))
    if rule.kind == "percent" and rule.limit > 100:
        raise UsageError(f"--max-fail {rule}: no more than 100% of the devices can fail", hint)
    return rule


def sign_of(outcome: DeviceOutcome) -> Sign:
    """What the outcome says of the images."""
    if outcome.status in SUCCEEDED:
        return "succeeded"
    return "failed" if outcome.status == "failed" and outcome.reason_code not in _NO_FAILURE else "nothing"


def strikes(
    rule: StopRule, wave: Mapping[str, Tally], failed: Mapping[str, int], stopped: Collection[str | None]
) -> dict[str | None, str]:
    """What is to be stopped now, and why, in a sentence: platforms, or all (None).

    `wave` has the platforms of the wave that runs, `failed` the failures in all waves so far, by platform; `stopped` is
    what has been stopped before.
    """
    if None in stopped:
        return {}
    found: dict[str | None, str] = {}
    for platform in failed if rule.kind == "count" else wave:
        if platform not in stopped and (why := _too_many(rule, wave.get(platform), failed.get(platform, 0))):
            found[platform] = why
    if why := _all(rule, wave, failed, {*stopped, *found}):
        found[None] = why
    return found


def _too_many(rule: StopRule, tally: Tally | None, failed: int) -> str:
    """Why this is too much for `rule`; "" if it is not."""
    if rule.kind == "count":
        return f"{failed} failed, and {rule.limit} may" if failed > rule.limit else ""
    if tally is None:
        return ""
    if rule.kind == "percent":
        over = tally.failed * 100 > rule.limit * tally.devices
        return f"{tally.failed} of {tally.devices} in the wave failed, and {rule} may" if over else ""
    return f"{_those(tally.failed)} tried in the wave failed" if tally.all_failed else ""


def _all(rule: StopRule, wave: Mapping[str, Tally], failed: Mapping[str, int], stopped: Collection[str | None]) -> str:
    """Why all is to be stopped."""
    going = [tally for platform, tally in wave.items() if platform not in stopped]
    both = Tally(sum(tally.devices for tally in going), failed=sum(tally.failed for tally in going))
    count = sum(number for platform, number in failed.items() if platform not in stopped)
    if rule.kind != "wave" and (why := _too_many(rule, both, count)):
        return why
    allowed = rule.kind == "count" or (rule.kind == "percent" and rule.limit == 100)
    if not allowed and wave and all(tally.all_failed for tally in wave.values()):
        return f"{_those(sum(tally.failed for tally in wave.values()))} tried in the wave failed"
    return ""


def _those(count: int) -> str:
    return "the only device" if count == 1 else f"all {count} devices"
