"""Limits that a change must not pass unseen: ratios of what two contenders of a case execute.

Where the processor's instructions are counted they are compared, which are the same on a busy machine; else CPU
seconds. Limits are wide: they find a cost that doubled, not one that grew by a tenth.
"""

from __future__ import annotations

import statistics
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LIMITS = Path(__file__).with_name("limits.toml")


@dataclass(frozen=True, slots=True)
class Limit:
    """What `contender` of a case may execute at most, in times of what `peer` does."""

    case: str
    contender: str
    peer: str
    most: float


@dataclass(frozen=True, slots=True)
class Verdict:
    """A limit, and the median of what was measured, by instructions or CPU seconds."""

    limit: Limit
    value: float
    measure: str

    @property
    def passed(self) -> bool:
        """True where it is more than the limit."""
        return self.value > self.limit.most

    def line(self) -> str:
        """One line of the report."""
        one = self.limit
        said = f"{self.measure} of {one.case}: {one.contender} ÷ {one.peer}: {self.value:.2f}"
        if self.passed:
            return f"error: limit passed: {said}, more than {one.most:g}"
        return f"{said}, at most {one.most:g}"


def limits(file: Path) -> list[Limit]:
    """What a file of limits says: a table `limit` each."""
    return [Limit(**each) for each in tomllib.loads(file.read_text())["limit"]]


def judged(documents: Sequence[Mapping[str, Any]], wanted: Sequence[Limit]) -> list[Verdict]:
    """Each limit whose two contenders were measured, by the documents of `result.document`."""
    cases = {each["case"]: each["contenders"] for each in documents}
    found = []
    for limit in wanted:
        contenders = cases.get(limit.case, {})
        if limit.contender in contenders and limit.peer in contenders:
            found.append(_verdict(limit, contenders[limit.contender], contenders[limit.peer]))
    return found


def _verdict(limit: Limit, own: Mapping[str, Any], peer: Mapping[str, Any]) -> Verdict:
    counted = all(run is not None for one in (own, peer) for run in one["instructions"])
    measure = "instructions" if counted else "cpu_seconds"
    ratios = [one / other for one, other in zip(own[measure], peer[measure], strict=True)]
    return Verdict(limit, statistics.median(ratios), measure.replace("cpu_", "CPU "))
