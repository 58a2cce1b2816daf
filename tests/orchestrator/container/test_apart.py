"""Programs in namespaces of their own, beside this process."""

from __future__ import annotations

import os
import threading

import pytest

from polyarch.container.apart import ProgramsApart
from polyarch.container.emulation import private_refusal
from polyarch.errors import HostError, InterruptedPull

pytestmark = pytest.mark.skipif(private_refusal() is not None, reason="no namespaces here")
ENVIRON = {"PATH": "/usr/bin:/bin", "GIVEN": "1"}


@pytest.fixture
def programs() -> ProgramsApart:
    return ProgramsApart(dict)


def said(programs: ProgramsApart, script: str) -> tuple[int, list[str]]:
    lines: list[str] = []
    return programs.run(["sh", "-c", script], ENVIRON, lines.append), lines


@pytest.mark.parametrize(("script", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -KILL $$; exit 4", 4)])
def test_the_exit_code(script: str, code: int, programs: ProgramsApart) -> None:
    """The first process of a PID namespace cannot kill itself."""
    assert said(programs, script) == (code, [])


def test_lines_of_both_streams(programs: ProgramsApart) -> None:
    script = "echo one; echo two >&2; printf 'three\\r\\n'; printf '\\377'"
    assert said(programs, script) == (0, ["one", "two", "three", "\ufffd"])


def test_a_line_without_an_end_comes_in_parts(programs: ProgramsApart) -> None:
    code, lines = said(programs, "head -c 200000 /dev/zero | tr '\\0' x")
    assert (code, sum(map(len, lines)), set("".join(lines))) == (0, 200_000, {"x"})
    assert len(lines) > 1
    assert max(map(len, lines)) <= 3 << 16


def test_it_is_root_and_the_first_process_and_has_nothing_else(programs: ProgramsApart) -> None:
    script = "id -u; echo $$; ls /proc | grep -c '^[0-9]'; echo $GIVEN $HOME; wc -c"
    _, lines = said(programs, script)
    user, first, processes, environ, stdin = lines
    assert (user, first, environ, stdin) == ("0", "1", "1", "0")
    assert int(processes) <= 4


def test_nothing_is_left_of_what_it_started(programs: ProgramsApart) -> None:
    """It has its output's other end, for which would be waited else."""
    assert said(programs, "sleep 1000 & echo begun") == (0, ["begun"])


def test_a_program_that_is_not_there(programs: ProgramsApart) -> None:
    with pytest.raises(HostError, match="nothing-of-that-name is not there"):
        programs.run(["nothing-of-that-name"], ENVIRON, print)


def test_a_file_that_is_no_program(programs: ProgramsApart, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = tmp_path_factory.mktemp("none") / "file"
    file.write_bytes(b"\x7fnothing")
    file.chmod(0o755)
    with pytest.raises(HostError, match="cannot be started: Exec format error"):
        programs.run([str(file)], ENVIRON, print)


def test_the_end_of_all(programs: ProgramsApart) -> None:
    begun, outcome = threading.Event(), []

    def run() -> None:
        try:
            programs.run(["sh", "-c", "echo begun; sleep 1000"], ENVIRON, lambda line: begun.set())
        except InterruptedPull as error:
            outcome.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    assert begun.wait(60)
    programs.end()
    thread.join(60)
    assert len(outcome) == 1
    with pytest.raises(InterruptedPull):
        said(programs, "true")
    programs.again()
    assert said(programs, "true") == (0, [])


def test_what_emulators_raise_is_raised(programs: ProgramsApart) -> None:
    def none() -> dict[str, object]:
        raise HostError("no emulator")

    with pytest.raises(HostError, match="no emulator"):
        ProgramsApart(none).run(["true"], ENVIRON, print)  # type: ignore[arg-type]


def test_files_do_not_leak_into_it(programs: ProgramsApart) -> None:
    reading, writing = os.pipe()
    os.set_inheritable(writing, True)
    try:
        assert said(programs, "ls /proc/self/fd | wc -l") == (0, ["4"])
    finally:
        os.close(reading)
        os.close(writing)
