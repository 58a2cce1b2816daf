"""File systems that end under a command: full, faulty, read-only, cut from power, removed; clocks that jump; umasks.

The faults are real ones of ext4 on a loop device: see `support.small_disk`.
"""

from __future__ import annotations

import datetime
import fcntl
import itertools
import os
import re
import shutil
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.disk_cases import CASES, DiskSite
from support.disk_checks import below, differences, ended, leftovers
from support.failing_calls import spread
from support.small_disk import SmallDisk

pytestmark = [pytest.mark.system, pytest.mark.soak]

SAMPLE = ("pull-again", "power_cut")
WRITERS = ("pull-first", "pull-again", "pull-prepare", "create", "commit", "tag", "image-rm", "prune", "save", "load")
YEARS = 30 * 365.25 * 86400


@pytest.fixture
def disk(site: DiskSite) -> Iterator[SmallDisk]:
    disk = SmallDisk(site.place, site.root)
    yield disk
    if os.path.ismount(site.root):
        disk.unmount()


@pytest.mark.parametrize(
    ("name", "how"),
    [
        pytest.param(name, how, marks=() if (name, how) == SAMPLE else pytest.mark.costly)
        for name in WRITERS
        for how in ("power_cut", "read_only", "full")
    ],
)
def test_the_disk_ends(name: str, how: str, site: DiskSite, disk: SmallDisk, count: Callable[[int, int], int]) -> None:
    """Exit code 9, and after the next mount what was there is there, or what was to be; the next try finishes."""
    case, ready = CASES[name], site.ready(name)
    disk.begin(ready)
    before = below(site.root)
    done = site.do(case.words, case.stdin)
    assert done.code == 0, site.told
    end, calls = below(site.root), sum(done.calls.values())
    disk.unmount()
    for number in [*spread(calls, count(1, 6)), calls]:  # the last is when it is over
        disk.begin(ready)
        watched = site.do(case.words, case.stdin, number=number, fault=getattr(disk, how))
        told = site.told
        if not watched.met:
            getattr(disk, how)()
        assert watched.code in (0, 9), f"{watched.met}: {told}"
        assert "Traceback" not in told
        if how == "full":
            disk.room()
        else:
            disk.mount_again()
        # What it says is only done when it is on the disk: `sync` is the setting's default.
        wrong = differences(case, site.word(case.name), before, below(site.root), end, told, done=watched.code == 0)
        assert not wrong, f"{watched.met}: {wrong}"
        again = site.do(case.words, case.stdin)
        assert again.code in (0, case.gone), f"{watched.met}: {site.told}"
        assert below(site.root).layout.names == end.layout.names
        assert leftovers(site) == []
        disk.unmount()


@pytest.mark.parametrize(
    ("name", "gone"),
    [
        pytest.param(name, gone, marks=() if (name, gone) == ("pull-prepare", ".") else pytest.mark.costly)
        for name in ("pull", "pull-prepare", "commit", "image-rm", "run")
        for gone in ("oci", "oci/.polyarch", "snapshots", ".")
    ],
)
def test_folders_go_under_a_command(name: str, gone: str, site: DiskSite, count: Callable[[int, int], int]) -> None:
    case = CASES[name]
    site.begin(name)
    calls = sum(site.do(case.words, case.stdin).calls.values())
    for number in spread(calls, count(1, 6)):
        site.begin(name)
        watched = site.do(
            case.words, case.stdin, number=number, fault=lambda: shutil.rmtree(site.root / gone, ignore_errors=True)
        )
        told = site.told
        # 3: the image went as well; 125 and 8 are a program's that cannot start any more.
        assert watched.code in (0, 3, 9, 125 if case.starts else 9), f"{watched.met}: {told}"
        assert "Traceback" not in told
        assert "a defect in polyarch" not in told, f"{watched.met}: {told}"
        shutil.rmtree(site.root, ignore_errors=True)
        for words in case.before:
            assert site.do(words, case.stdin).code == 0, site.told


class _Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
        return datetime.datetime.fromtimestamp(time.time(), tz)


def clocks_jump() -> None:
    """In this process each look at the clock is 30 years later or earlier than the one before."""
    real, turns = time.time, itertools.count()
    time.time = lambda: real() + (YEARS if next(turns) % 2 else -YEARS)
    time.time_ns = lambda: int(time.time() * 1e9)
    for name, module in list(sys.modules.items()):
        if name.startswith("polyarch") and getattr(module, "datetime", None) is datetime.datetime:
            module.datetime = _Jumping


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=() if name == "image-rm" else pytest.mark.costly) for name in CASES]
)
def test_clocks_jump(name: str, site: DiskSite) -> None:
    case, end = CASES[name], ended(site, name)
    site.begin(name)
    site.within = clocks_jump
    try:
        assert site.do(case.words, case.stdin).code == 0, site.told
        now = below(site.root)
        assert (now.layout.names, now.containers.keys()) == (end.layout.names, end.containers.keys())
        for words in (("ps", "-a"), ("image", "ls"), ("image", "prune", "-f", "--older-than", "24h")):
            assert site.do(words).code == 0, site.told
    finally:
        site.within = lambda: None


FILLING = ("pull-prepare", "create", "commit", "login", "lock", "run")


@pytest.mark.costly
def test_no_umask_changes_who_may_read(site: DiskSite) -> None:
    """Directories are root's alone, and so are secrets, whatever the umask."""

    def modes(umask: int) -> dict[str, int]:
        shutil.rmtree(site.root, ignore_errors=True)
        site.within = lambda: os.umask(umask)
        try:
            for words in (*CASES["commit"].before, *(CASES[name].words for name in FILLING if name != "create")):
                assert site.do(words, "PASSWORD").code == 0, site.told
        finally:
            site.within = lambda: None
        names = {path: str(path.relative_to(site.root)) for path in (site.root, *site.root.rglob("*"))}
        return {re.sub("[0-9a-f]{32,64}", "X", name): path.lstat().st_mode for path, name in names.items()}

    open_to_all = modes(0o000)
    assert open_to_all == modes(0o077)
    assert open_to_all["auth.json"] & 0o777 == 0o600
    for name, mode in open_to_all.items():
        if "/" not in name and (site.root / name).is_dir():
            assert mode & 0o777 == 0o700, name


ORDER = (
    r"snapshots/locks/prune",
    r"containers/lock",
    r"containers/[0-9a-f]{64}/lock",
    r"snapshots/locks/(?:[0-9a-f]{64}|preparing)",
    r"oci/\.polyarch/partial/.*",
    r"oci/\.polyarch/lock",
    r"fleet/facts/[0-9a-f]{32}",
)
"""As docs/storage.md has it: who holds one of these waits for later ones only."""


def rank(name: str) -> int:
    return next((place for place, pattern in enumerate(ORDER) if re.fullmatch(pattern, name)), -1)


def test_locks_have_one_order(site: DiskSite) -> None:
    """Every lock that is waited for while others are held, over all commands."""
    events = site.place / "locks"
    events.unlink(missing_ok=True)

    def watch() -> None:
        real, held, told = fcntl.flock, {}, os.open(events, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        guard = threading.Lock()

        def name(descriptor: int) -> str:
            try:
                return str(Path(f"/proc/self/fd/{descriptor}").readlink()).removeprefix(f"{site.root}/")
            except OSError:
                return ""

        def flock(file: int, operation: int) -> None:
            with guard:
                for other, (place, owner) in list(held.items()):
                    if name(other) != place:
                        del held[other]
                    elif owner == threading.get_ident() and other != file:
                        words = "tries" if operation & fcntl.LOCK_NB else "waits"
                        os.write(told, f"{place}\t{words}\t{name(file)}\n".encode())
            real(file, operation)
            with guard:
                held[file] = (name(file), threading.get_ident())

        fcntl.flock = flock  # type: ignore[assignment]

    site.within = watch
    try:
        for case in CASES:
            site.begin(case)
            assert site.do(CASES[case].words, CASES[case].stdin).code == 0, site.told
    finally:
        site.within = lambda: None
    seen = {tuple(line.split("\t")) for line in events.read_text().splitlines()}
    assert len(seen) > 10
    for held, how, wanted in seen:
        # Layers' locks and the storage's are tried again and again: that is waiting. What holds the storage's tries
        # once, and goes on.
        waits = how == "waits" or rank(wanted) in (3, 5) or (rank(wanted) == 4 and rank(held) != 5)
        if waits and not held.startswith("oci/.polyarch/leases/"):  # which nobody waits for
            assert rank(wanted) >= 0, f"{wanted} has no place in the order"
            assert rank(held) < rank(wanted), f"{held}, then {wanted}"
