"""Processes in namespaces: real ones, as root and as the ordinary user whom the tests make."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import textwrap
from collections.abc import Sequence
from pathlib import Path

import pytest

from polyarch.container.id_maps import same_ids, same_ids_in_parts
from polyarch.container.launch import Launch, call_inside
from polyarch.container.syscalls import mount
from polyarch.errors import HostError, IntegrityError
from support.processes import await_true

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(os.geteuid() != 0, reason="root goes all the ways; ordinary users are tested by their runs"),
]


def shell(text: str) -> Sequence[str]:
    return ["/bin/sh", "-c", text]


def running(mark: str) -> list[int]:
    """The processes with `mark` among their arguments."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark in path.read_bytes().decode(errors="replace").split("\0"):
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def test_the_wait_status_is_the_programs() -> None:
    assert os.waitstatus_to_exitcode(Launch(lambda: shell("exit 7")).run()) == 7


def test_it_is_a_child_of_this_process_and_the_first_of_its_namespace(tmp_path: Path) -> None:
    said, seen = tmp_path / "said", []

    def mounts() -> None:
        mount("proc", "/proc", "proc")

    def started(pid: int) -> None:
        seen.append(Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1])

    assert Launch(lambda: shell(f"echo $$ > {said}; sleep 0.2"), mounts).run(started) == 0
    assert said.read_text() == "1\n"
    assert seen == [str(os.getpid())]


def test_mounts_are_not_seen_outside(tmp_path: Path) -> None:
    def mounts() -> None:
        mount("none", tmp_path, "tmpfs")
        (tmp_path / "inside").touch()

    assert Launch(lambda: shell(f"test -e {tmp_path}/inside"), mounts).run() == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("where", ["outer", "inner"])
def test_user_namespaces_have_the_ids_they_were_given(where: str, tmp_path: Path) -> None:
    said = tmp_path / "said"

    def mounts() -> None:
        mount("proc", "/proc", "proc")

    maps = same_ids_in_parts()
    launch = Launch(
        lambda: shell(f"cat /proc/self/uid_map > {said}"),
        mounts,
        outer=maps if where == "outer" else None,
        inner=maps if where == "inner" else None,
    )
    assert launch.run() == 0
    assert [line.split() for line in said.read_text().splitlines()] == [str(each).split() for each in maps.users]


@pytest.mark.parametrize("place", ["mounts", "command"])
@pytest.mark.parametrize("maps", [None, same_ids()], ids=["plain", "user namespace"])
def test_errors_come_back_whole(place: str, maps: object) -> None:
    def fail() -> Sequence[str]:
        raise IntegrityError("a layer is hostile", "do not use it", digest="sha256:0")

    launch = Launch(
        fail if place == "command" else lambda: shell("true"),
        fail if place == "mounts" else lambda: None,  # type: ignore[arg-type]
        outer=maps,  # type: ignore[arg-type]
    )
    with pytest.raises(IntegrityError) as caught:
        launch.run()
    assert (caught.value.message, caught.value.hint) == ("a layer is hostile", "do not use it")
    assert caught.value.details == {"digest": "sha256:0"}


def test_a_program_that_is_not_there_is_an_os_error() -> None:
    with pytest.raises(FileNotFoundError):
        Launch(lambda: ["/no/such/program"]).run()
    with pytest.raises(PermissionError):
        Launch(lambda: ["/etc/passwd"]).run()


def test_call_inside_changes_nothing_here(tmp_path: Path) -> None:
    before = os.readlink("/proc/self/ns/user")  # noqa: PTH115  # no path, but a name
    call_inside(same_ids(), lambda: (tmp_path / "ns").write_text(os.readlink("/proc/self/ns/user")) and None)  # noqa: PTH115
    assert os.readlink("/proc/self/ns/user") == before != (tmp_path / "ns").read_text()  # noqa: PTH115


def test_call_inside_raises_what_was_raised() -> None:
    def fail() -> None:
        raise HostError("no permission", "ask")

    with pytest.raises(HostError, match="no permission"):
        call_inside(same_ids(), fail)


def test_no_signal_mask_and_no_open_file_is_left_to_the_program(tmp_path: Path) -> None:
    said = tmp_path / "said"
    with (tmp_path / "open").open("w"):
        text = f"ls -l /proc/self/fd > {said}; grep -E 'SigBlk|SigIgn' /proc/self/status >> {said}"
        assert Launch(lambda: shell(text), pid_namespace=False).run() == 0
    lines = said.read_text()
    assert "SigBlk:\t0000000000000000" in lines
    # What the tests' own caller ignores is inherited; what Python itself ignores must not be.
    own = int(re.search(r"SigIgn:\t(\w+)", Path("/proc/self/status").read_text())[1], 16)  # type: ignore[index]
    inherited = own & ~sum(1 << (number - 1) for number in (signal.SIGPIPE, signal.SIGXFSZ))
    assert f"SigIgn:\t{inherited:016x}" in lines
    assert str(tmp_path / "open") not in lines
    assert "socket:" not in lines


LAUNCHER = """
import os, sys
from polyarch.container.launch import Launch
mark = sys.argv[1]
status = Launch(lambda: ["/bin/sh", "-c", f"{sys.argv[2]}", mark]).run(lambda pid: print("started", flush=True))
sys.exit(os.waitstatus_to_exitcode(status))
"""


def launcher(mark: str, script: str) -> subprocess.Popen[str]:
    argv = [sys.executable, "-c", textwrap.dedent(LAUNCHER), mark, script]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "started\n"
    return process


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_signals_reach_the_program(number: signal.Signals, tmp_path: Path) -> None:
    ready = tmp_path / "ready"
    name = number.name.removeprefix("SIG")
    script = f"trap 'exit 42' {name}; touch {ready}; while :; do sleep 0.05; done"
    with launcher(f"mark-{tmp_path.name}", script) as process:
        await_true(ready.exists, "the program runs")
        process.send_signal(number)
        assert process.wait(20) == 42


def test_nothing_outlives_a_killed_launcher(tmp_path: Path) -> None:
    ready, mark = tmp_path / "ready", f"mark-{tmp_path.name}"
    script = f"(setsid sleep 1000 &) ; setsid sh -c 'touch {ready}; sleep 1000' {mark} & wait"
    with launcher(mark, script) as process:
        await_true(ready.exists, "the program runs")
        assert len(running(mark)) >= 2
        process.kill()
        process.wait(20)
        await_true(lambda: not running(mark), "all its processes are gone")


INSIDE = """
import signal, sys, time
from pathlib import Path
from polyarch.container.id_maps import same_ids
from polyarch.container.launch import call_inside

def work():
    try:
        print("started", flush=True)
        time.sleep(1000)
    finally:
        Path(sys.argv[1]).touch()

signal.signal(signal.SIGTERM, signal.default_int_handler)
try:
    call_inside(same_ids(), work)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_a_call_inside_is_interrupted_and_may_tidy_up(tmp_path: Path) -> None:
    tidied = tmp_path / "tidied"
    argv = [sys.executable, "-c", INSIDE, str(tidied)]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.terminate()
        assert process.wait(20) == 130
    assert tidied.exists()
