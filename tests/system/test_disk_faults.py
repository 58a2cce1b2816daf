"""Every command that changes something, while one of its system calls fails or ends it: `support.disk_cases`.

After each: the exit code of the contract and no traceback, what was there is there or what was to be, nothing is half
made, the next try finishes and brings what is missing alone, and tidying leaves nothing behind.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from itertools import cycle

import pytest

from support.disk_cases import CASES, DiskSite
from support.disk_checks import ended, tried
from support.failing_calls import KILL, Fault, spread
from support.figures import Figures

pytestmark = [pytest.mark.system, pytest.mark.soak]

FAULTS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT)
SAMPLE = ("pull-again", "image-rm", "login")
"""In `make test`; `make soak` has all, many times."""
FLEETS = [name for name, case in CASES.items() if case.fleet]
Count = Callable[[int, int], int]


def cases(names: Iterable[str]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize(
        "name", [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.costly) for name in names]
    )


def all_tried(
    site: DiskSite, name: str, tries: Iterable[tuple[str, int, Fault]], figures: Figures, *, device: bool = False
) -> None:
    """Each call with its number and its fault."""
    wrong, whose = [], "of a fleet's device" if device else "of fleet pull" if name in FLEETS else "of others"
    for call, number, fault in tries:
        one = tried(site, name, call, number, fault, device=device)
        wrong += one.wrong
        if one.met and fault == KILL:
            figures.add("SIGKILL at a call", 1, 1000)
            figures.add(f"… {whose}", 1)
        elif one.met:
            figures.add("failed calls", 1, 500)
            figures.add(f"… {one.met.partition(' ')[0]}", 1)
    assert not wrong, "\n".join(wrong)


def calls_of(site: DiskSite, name: str, each: int, *, device: bool = False) -> list[tuple[str, int, Fault]]:
    """So many of each kind of call that a command makes, and of each the number and a fault."""
    ended(site, name)
    site.begin(name)
    calls = site.do(CASES[name].words, CASES[name].stdin, device=device).calls
    numbers = [(call, number) for call in sorted(calls) for number in spread(calls[call], each)]
    return [(*found, fault) for found, fault in zip(numbers, cycle(FAULTS), strict=False)]


def kills_of(site: DiskSite, name: str, wanted: int, *, device: bool = False) -> list[tuple[str, int, Fault]]:
    """So many calls of all that a command makes."""
    ended(site, name)
    site.begin(name)
    calls = sum(site.do(CASES[name].words, CASES[name].stdin, device=device).calls.values())
    return [("", number, KILL) for number in spread(calls, wanted)]


@cases(CASES)
def test_a_call_fails(name: str, site: DiskSite, count: Count, figures: Figures) -> None:
    """At least 500 in all in `make soak`: every kind of call in turn, and each of them with every fault."""
    tries = calls_of(site, name, count(1, 5))
    all_tried(site, name, tries[:: max(len(tries) // count(3, 20 if name in FLEETS else 32), 1)], figures)


@cases(CASES)
def test_killed_at_a_call(name: str, site: DiskSite, count: Count, figures: Figures) -> None:
    """Over 1,000 in all in `make soak`."""
    all_tried(site, name, kills_of(site, name, count(2, 24 if name in FLEETS else 64)), figures)


@cases(FLEETS)
def test_a_call_of_a_fleets_device_fails(name: str, site: DiskSite, count: Count, figures: Figures) -> None:
    tries = calls_of(site, name, count(1, 3), device=True)
    all_tried(site, name, tries[:: max(len(tries) // count(3, 12), 1)], figures, device=True)


@cases(FLEETS)
def test_a_fleets_device_is_killed_at_a_call(name: str, site: DiskSite, count: Count, figures: Figures) -> None:
    """All of its processes at once, as when it loses its power."""
    all_tried(site, name, kills_of(site, name, count(2, 8), device=True), figures, device=True)
