"""How a command has to end that was shown something hostile, and which of many such cases `make test` runs."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Protocol

import pytest

from support.forked_commands import Ran

MEMORY = 256 << 20
SECONDS = 30
_ESCAPES = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def wrong_end(ran: Ran, code: int, says: str, seconds: float) -> list[str]:
    """All that is wrong with how a command has ended, which took `seconds`: it is to end with `code`, and to tell in
    one line, in which `says` is found (a regular expression), why that is not 0.
    """
    found = []
    errors = [line for line in ran.stderr.splitlines() if line.startswith("error: ")]
    if ran.code != code:
        found.append(f"ended with {ran.code}, not with {code}")
    if len(errors) != (1 if code else 0):
        found.append(f"{len(errors)} error lines")
    if code and not re.search(says, errors[0] if errors else ""):
        found.append(f"does not say {says!r}")
    if "Traceback" in ran.told or "a defect in polyarch" in ran.told:
        found.append("a defect")
    if _ESCAPES.search(ran.told):
        found.append("control characters")
    if ran.memory > MEMORY:
        found.append(f"{ran.memory >> 20} MiB of memory")
    if seconds > SECONDS:
        found.append(f"{seconds:.0f} s")
    return found


class _Case(Protocol):
    @property
    def name(self) -> str: ...

    @property
    def heavy(self) -> bool: ...


def sampled(cases: Mapping[str, _Case], one_in: int) -> Iterator[object]:
    """The cases as pytest's parameters: of those that are not heavy `make test` runs one in so many, another one each
    time the cases change; `make soak` runs them all.
    """
    ordered = sorted(cases.values(), key=lambda case: zlib.crc32(case.name.encode()))
    sample = {case.name for case in [case for case in ordered if not case.heavy][::one_in]}
    for case in cases.values():
        yield pytest.param(case, id=case.name, marks=() if case.name in sample else pytest.mark.costly)
