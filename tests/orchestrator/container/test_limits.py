from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from polyarch.container import limits
from polyarch.container.limits import Limits, held_by_this_machine, limits_of
from polyarch.container.request import RunRequest
from polyarch.container.security import Security, chosen_capabilities, parse_security
from polyarch.errors import HostError, UsageError

M, G = 1 << 20, 1 << 30


@pytest.mark.parametrize(
    ("words", "made"),
    [
        ({}, Limits()),
        ({"memory": "512m"}, Limits(512 * M, 1024 * M)),
        ({"memory": "1.5g"}, Limits(3 * G // 2, 3 * G)),
        ({"memory": "10MiB"}, Limits(10 * M, 20 * M)),
        ({"memory": "20000k"}, Limits(20_000 << 10, 40_000 << 10)),
        ({"memory": "8388608b"}, Limits(8 * M, 16 * M)),
        ({"memory": "64 m", "memory_swap": "64M"}, Limits(64 * M, 64 * M)),
        ({"memory": "64m", "memory_swap": "-1"}, Limits(64 * M, -1)),
        ({"cpus": "1.5"}, Limits(quota=150_000)),
        ({"cpus": ".01"}, Limits(quota=1000)),
        ({"pids_limit": "20"}, Limits(pids=20)),
        ({"pids_limit": "-1"}, Limits()),
        ({"pids_limit": "0"}, Limits()),
    ],
    ids=str,
)
def test_limits(words: dict[str, Any], made: Limits) -> None:
    assert limits_of(RunRequest(**words)) == made


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"memory": "many"}, "no size"),
        ({"memory": "-1"}, "no size"),
        ({"memory": "5m"}, "less than 6m"),
        ({"memory": "9000p"}, "no size"),
        ({"memory": "1e9"}, "no size"),
        ({"memory": "\u0661\u0662m"}, "no size"),
        ({"memory_swap": "64m"}, "--memory is wanted, too"),
        ({"memory": "64m", "memory_swap": "32m"}, "less than --memory"),
        ({"cpus": "0"}, "no number of CPUs"),
        ({"cpus": "-1"}, "no number of CPUs"),
        ({"cpus": "nan"}, "no number of CPUs"),
        ({"pids_limit": "many"}, "no number of processes"),
        ({"pids_limit": "-2"}, "no number of processes"),
        ({"cap_add": ("NET_EVERYTHING",)}, "no capability"),
        ({"cap_drop": ("",)}, "no capability"),
        ({"security_opts": ("apparmor=x",)}, "not known"),
        ({"security_opts": ("no-new-privileges=maybe",)}, "not known"),
        ({"security_opts": ("seccomp=",)}, "not known"),
    ],
    ids=str,
)
def test_what_cannot_be_meant(words: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RunRequest(**words)


def test_resources() -> None:
    assert Limits().resources() == {}
    assert Limits(64 * M, -1, 50_000, 7).resources() == {
        "memory": {"limit": 64 * M, "swap": -1},
        "cpu": {"quota": 50_000, "period": 100_000},
        "pids": {"limit": 7},
    }
    assert Limits(64 * M).resources() == {"memory": {"limit": 64 * M}}


@pytest.fixture
def mounted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Control groups of version 1 as root sees them, without a limit of swap."""
    monkeypatch.setattr(limits, "_MOUNTED", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    for name in ("memory", "cpu"):
        (tmp_path / name).mkdir()
    return tmp_path


def test_what_the_kernel_does_not_hold_is_refused(mounted: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert held_by_this_machine(RunRequest(memory="64m", cpus="2")) == Limits(64 * M, 0, 200_000)
    with pytest.raises(HostError, match="--memory-swap cannot be held"):
        held_by_this_machine(RunRequest(memory="64m", memory_swap="64m"))
    (mounted / "memory/memory.memsw.limit_in_bytes").touch()
    assert held_by_this_machine(RunRequest(memory="64m")) == Limits(64 * M, 128 * M)
    with pytest.raises(UsageError, match="this machine has 2"):
        held_by_this_machine(RunRequest(cpus="2.1"))
    with pytest.raises(HostError, match="--memory and --pids-limit cannot be held: the kernel counts no pids"):
        held_by_this_machine(RunRequest(memory="64m", pids_limit="5"))
    (mounted / "memory").rename(mounted / "gone")
    with pytest.raises(HostError, match="counts no memory") as told:
        held_by_this_machine(RunRequest(memory="64m"))
    assert told.value.hint == "start the kernel with: cgroup_enable=memory"
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert held_by_this_machine(RunRequest(pids_limit="-1")) == Limits()
    with pytest.raises(HostError, match="no control group") as told:
        held_by_this_machine(RunRequest(cpus="1"))
    assert (told.value.exit_code, told.value.hint) == (8, "run polyarch as root")


def test_the_second_version_says_itself_what_it_counts(mounted: Path) -> None:
    (mounted / "cgroup.controllers").write_text("cpuset cpu pids\n")
    assert held_by_this_machine(RunRequest(cpus="1", pids_limit="5")) == Limits(quota=100_000, pids=5)
    with pytest.raises(HostError, match="counts no memory"):
        held_by_this_machine(RunRequest(memory="64m"))


def test_security_options() -> None:
    assert parse_security(()) == Security()
    for text in ("no-new-privileges", "no-new-privileges:true", "no-new-privileges=true", "seccomp=builtin"):
        assert parse_security((text,)) == Security()
    both = parse_security(("no-new-privileges:false", "seccomp=unconfined", "seccomp:/a=b:c"))
    assert both == Security(new_privileges=True, seccomp="/a=b:c")


@pytest.mark.parametrize(
    ("add", "drop", "result"),
    [
        ((), (), "CAP_CHOWN CAP_KILL"),
        (("net_admin",), (), "CAP_CHOWN CAP_KILL CAP_NET_ADMIN"),
        (("CAP_CHOWN", "chown"), (), "CAP_CHOWN CAP_KILL"),
        ((), ("kill", "NET_RAW"), "CAP_CHOWN"),
        ((), ("all",), ""),
        (("kill",), ("ALL",), "CAP_KILL"),
        (("kill",), ("kill",), "CAP_CHOWN CAP_KILL"),
        (("all",), ("kill",), "CAP_CHOWN CAP_NET_ADMIN"),
    ],
)
def test_capabilities(add: tuple[str, ...], drop: tuple[str, ...], result: str) -> None:
    default, had = ("CAP_CHOWN", "CAP_KILL"), {"CAP_KILL", "CAP_CHOWN", "CAP_NET_ADMIN"}
    assert chosen_capabilities(default, add, drop, had) == tuple(result.split())


def test_a_capability_that_polyarch_has_not() -> None:
    with pytest.raises(HostError, match="CAP_SYS_TIME cannot be given"):
        chosen_capabilities((), ("SYS_TIME",), (), {"CAP_CHOWN"})


def test_the_names_are_those_of_the_kernel() -> None:
    last = int(Path("/proc/sys/kernel/cap_last_cap").read_text())
    from polyarch.container.security import KNOWN_CAPABILITIES, own_capabilities

    assert KNOWN_CAPABILITIES[21] == "CAP_SYS_ADMIN"
    assert KNOWN_CAPABILITIES[40] == "CAP_CHECKPOINT_RESTORE"
    assert len(KNOWN_CAPABILITIES) >= min(last, 40) + 1
    if os.geteuid() == 0:
        assert "CAP_CHOWN" in own_capabilities()
