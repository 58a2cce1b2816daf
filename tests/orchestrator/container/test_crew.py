"""Jobs on layers side by side: order, failures, and what happens when somebody is killed."""

from __future__ import annotations

import fcntl
import os
import select
import signal
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from polyarch.container.crew import in_processes
from polyarch.errors import HostError, IntegrityError


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        os.close(end)


def test_jobs_work_at_the_same_time(pipe: tuple[int, int]) -> None:
    """The first one ends only after the second has said something."""
    listen, speak = pipe
    in_processes([lambda wait: os.read(listen, 1) and None, lambda wait: os.write(speak, b"x") and None], 2)


def test_who_waits_goes_on_when_all_before_have_succeeded(tmp_path: Path, pipe: tuple[int, int]) -> None:
    listen, speak = pipe
    told = tmp_path / "told"

    def below(number: int, wait: Callable[[], None]) -> None:
        os.read(listen, 1)
        with told.open("a") as file:
            file.write("below ")

    def above(wait: Callable[[], None]) -> None:
        os.write(speak, b"xx")
        wait()
        with told.open("a") as file:
            file.write("above")

    in_processes([partial(below, 0), partial(below, 1), above], 3)
    assert told.read_text() == "below below above"


@pytest.mark.parametrize("failing", [0, 1, 2])
def test_one_that_fails_ends_the_others(tmp_path: Path, pipe: tuple[int, int], failing: int) -> None:
    """Its error is raised, whoever waits for it; what the others had begun they take away."""
    listen, speak = pipe

    def job(number: int, wait: Callable[[], None]) -> None:
        if number == failing:
            for _ in range(2):
                os.read(listen, 1)
            raise IntegrityError(f"layer {number} is damaged", "", layer=number)
        mine = tmp_path / str(number)
        mine.mkdir()
        try:
            os.write(speak, b"x")
            wait()
            signal.pause()
        finally:
            mine.rmdir()

    with pytest.raises(IntegrityError, match=f"layer {failing} is damaged"):
        in_processes([partial(job, number) for number in range(3)], 3)
    assert list(tmp_path.iterdir()) == []


def test_one_that_is_met_in_a_finaliser_ends_too(
    tmp_path: Path, pipe: tuple[int, int], capfd: pytest.CaptureFixture[str]
) -> None:
    """No exception leaves `__del__`, the interruption neither: it comes again."""
    listen, speak = pipe

    class Held:
        def __del__(self) -> None:
            os.write(speak, b"x")
            signal.pause()

    def met(wait: Callable[[], None]) -> None:
        mine = tmp_path / "mine"
        mine.mkdir()
        try:
            Held()
            select.select([], [], [], 60)
        finally:
            mine.rmdir()

    def failing(wait: Callable[[], None]) -> None:
        os.read(listen, 1)
        raise IntegrityError("a layer is damaged")

    with pytest.raises(IntegrityError, match="a layer is damaged"):
        in_processes([met, failing], 2)
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr().err == ""


def test_one_that_is_killed_is_told(pipe: tuple[int, int]) -> None:
    with pytest.raises(HostError, match="was killed"):
        in_processes([lambda wait: os.kill(os.getpid(), signal.SIGKILL), lambda wait: signal.pause()], 2)


def test_alone_all_is_done_here_in_order() -> None:
    done: list[int] = []
    in_processes([lambda wait: done.append(1), lambda wait: done.append(2)], 1)
    assert done == [1, 2]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_they_end_with_who_began_them(tmp_path: Path, pipe: tuple[int, int], number: signal.Signals) -> None:
    """Their locks are free then; who is interrupted lets them tidy up."""
    listen, speak = pipe
    (tmp_path / "lock").touch()

    def job(name: str, wait: Callable[[], None]) -> None:
        with (tmp_path / "lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH)
            (tmp_path / name).touch()
            try:
                os.write(speak, b"x")
                signal.pause()
            finally:
                (tmp_path / name).unlink()

    pid = os.fork()
    if pid == 0:
        try:
            signal.signal(signal.SIGTERM, signal.default_int_handler)
            in_processes([partial(job, "a"), partial(job, "b")], 2)
        finally:
            os._exit(0)
    for _ in range(2):
        os.read(listen, 1)
    os.kill(pid, number)
    os.waitpid(pid, 0)
    with (tmp_path / "lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
    if number != signal.SIGKILL:
        assert {path.name for path in tmp_path.iterdir()} == {"lock"}
