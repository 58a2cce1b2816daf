"""Every command that changes something, while one of its system calls fails or ends it: `support.disk_cases`.

After each: the exit code of the contract and no traceback, what was there is there or what was to be, nothing is half
made, the next try finishes, and tidying leaves nothing behind.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from support.disk_cases import CASES, DiskSite, ended, faults_of
from support.docker_registry import DockerRegistry
from support.failing_calls import KILL, spread
from support.registry_auth import PASSWORD, USERNAME

pytestmark = pytest.mark.system

FAULTS = (errno.ENOSPC, errno.EIO, errno.EROFS, errno.EDQUOT)
SAMPLE = ("pull-again", "image-rm", "login")
"""In `make test`; `make soak` has all, many times."""


@pytest.fixture(scope="module")
def site(
    registry: DockerRegistry,
    authed_registry: DockerRegistry,
    foreign_busybox: Callable[[str], Path],
    tmp_path_factory: pytest.TempPathFactory,
) -> DiskSite:
    if os.geteuid() != 0:
        pytest.skip("only root may be asked for the system calls of others")
    names = {"REGISTRY": registry.address, "AUTHED": authed_registry.address}
    names |= {"USERNAME": USERNAME, "PASSWORD": PASSWORD}
    return DiskSite(tmp_path_factory.mktemp("disk"), foreign_busybox("amd64"), names)


CASE = pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name in SAMPLE else pytest.mark.costly) for name in CASES]
)


@pytest.mark.soak
@CASE
def test_a_call_fails(name: str, site: DiskSite, count: Callable[[int, int], int]) -> None:
    """At least 500 in all in `make soak`: every kind of call in turn, and each of them with every fault."""
    ended(site, name)
    site.begin(name)
    calls = site.do(CASES[name].words, CASES[name].stdin).calls
    tries = [(call, number) for call in sorted(calls) for number in spread(calls[call], max(count(1, 32) // 6, 1))]
    tries = tries[:: max(len(tries) // count(3, 32), 1)]
    wrong = [
        each
        for place, (call, number) in enumerate(tries)
        for each in faults_of(site, name, call, number, FAULTS[place % len(FAULTS)])
    ]
    assert not wrong, "\n".join(wrong)


@pytest.mark.soak
@CASE
def test_killed_at_a_call(name: str, site: DiskSite, count: Callable[[int, int], int]) -> None:
    """Over 1,000 in all in `make soak`."""
    ended(site, name)
    site.begin(name)
    calls = sum(site.do(CASES[name].words, CASES[name].stdin).calls.values())
    wrong = [each for number in spread(calls, count(2, 64)) for each in faults_of(site, name, "", number, KILL)]
    assert not wrong, "\n".join(wrong)
