"""What the tests of the kit need to try a plugin hard: threads, processes, a sudden end, a look at the memory."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import select
import signal
import threading
import traceback
import tracemalloc
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import Connection
from typing import NoReturn, TypeVar

import pytest

from polyarch.contract import PolyarchError

T = TypeVar("T")

PATIENCE = 120.0
"""Seconds after which a process that does not end is taken to hang."""


@contextmanager
def refused(promise: str, *errors: type[PolyarchError]) -> Iterator[None]:
    """Wants one of the contract's errors to be raised within; AssertionError with the promise where none is."""
    names = " or ".join(error.__name__ for error in errors)
    try:
        yield
    except errors:
        return
    except Exception as other:
        raise AssertionError(f"{promise}: wanted is {names}, raised was {type(other).__name__}: {other}") from other
    raise AssertionError(f"{promise}: wanted is {names}, nothing was raised")


class Hangs(AssertionError):
    """A process did not end."""


def in_threads(works: Sequence[Callable[[], T]]) -> list[T]:
    """Does all of the works at the same time; their results. Raises what the first to fail raised."""
    results: dict[int, T] = {}
    failures: list[BaseException] = []
    start = threading.Barrier(len(works))

    def do(number: int, work: Callable[[], T]) -> None:
        try:
            start.wait()
            results[number] = work()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=do, args=each, daemon=True) for each in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE)
        if thread.is_alive():
            raise Hangs(f"a thread is not done after {PATIENCE:.0f} seconds")
    if failures:
        raise failures[0]
    return [results[number] for number in range(len(works))]


class Forked:
    """A fork of this process that does one work."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._report, write = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Python 3.12 on: other threads do not go on in a fork; none is needed
            self._pid = os.fork()
        if self._pid == 0:
            report = _done(work)
            os.write(write, report)
            os._exit(1 if report else 0)
        os.close(write)
        self._ended = False

    def wait(self) -> int:
        """The exit code, negative for the signal that ended it. Raises Hangs; AssertionError with what it raised."""
        said = b""
        try:
            while part := self._read():
                said += part
        finally:
            os.close(self._report)
            _, status = os.waitpid(self._pid, 0)
            self._ended = True
        assert not said, f"in another process:\n{said.decode(errors='replace')}"
        return os.waitstatus_to_exitcode(status)

    def end(self) -> None:
        """Leave nothing behind, where nobody has waited."""
        if not self._ended:
            os.kill(self._pid, signal.SIGKILL)
            with suppress(AssertionError):  # another's fault is told already
                self.wait()

    def _read(self) -> bytes:
        """What the process reports; b"" when it has ended."""
        ready, _, _ = select.select([self._report], [], [], PATIENCE)
        if not ready:
            os.kill(self._pid, signal.SIGKILL)
            raise Hangs(f"a process is not done after {PATIENCE:.0f} seconds")
        return os.read(self._report, 1 << 16)


class Started:
    """A new process that does one work, which travels there as a pickle."""

    def __init__(self, work: Callable[[], object]) -> None:
        try:
            pickle.dumps(work)
        except Exception as error:  # whatever the work's parts raise
            pytest.skip(
                f"what opens it cannot be pickled (make it a functools.partial of a module's function): {error}"
            )
        context = multiprocessing.get_context("spawn")
        self._report, report = context.Pipe(duplex=False)
        self._process = context.Process(target=_tell, args=(work, report), daemon=True)
        self._process.start()
        report.close()

    def wait(self) -> int:
        """The exit code, negative for the signal that ended it. Raises Hangs; AssertionError with what it raised."""
        with self._report:
            if not self._report.poll(PATIENCE):
                self._process.kill()
                raise Hangs(f"a process is not done after {PATIENCE:.0f} seconds")
            try:
                said = self._report.recv_bytes()
            except EOFError:  # it was killed
                said = b""
        self._process.join()
        assert not said, f"in another process:\n{said.decode(errors='replace')}"
        return self._process.exitcode or 0

    def end(self) -> None:
        """Leave nothing behind, where nobody has waited."""
        self._process.kill()
        self._process.join()


def _tell(work: Callable[[], object], report: Connection) -> None:
    report.send_bytes(_done(work))


def _done(work: Callable[[], object]) -> bytes:
    """Does the work; what it raised, b"" for nothing."""
    try:
        work()
    except BaseException:
        return traceback.format_exc().encode(errors="replace")[-60_000:]
    return b""


def in_processes(works: Sequence[Callable[[], object]], *, forks: bool) -> None:
    """Does all of the works at the same time, each in a process. Raises AssertionError with what one of them raised."""
    kind = Forked if forks else Started
    processes = [kind(work) for work in works]
    try:
        for process in processes:
            code = process.wait()
            assert code == 0, f"a process ended with {code}"
    finally:
        for process in processes:
            process.end()


def killed(work: Callable[[], object], *, forks: bool) -> None:
    """Does the work in a process, in the midst of which it calls `die`."""
    code = (Forked if forks else Started)(work).wait()
    assert code == -signal.SIGKILL, f"a process that was to be killed in the midst of its work ended with {code}"


def die() -> NoReturn:
    """End this process as a power failure would: nothing is closed, flushed or told."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable")


class Memory:
    """The most bytes that Python objects held since the beginning."""

    most = 0


@contextmanager
def memory() -> Iterator[Memory]:
    """Watches what is held within."""
    seen = Memory()
    was_tracing = tracemalloc.is_tracing()
    if not was_tracing:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    tracemalloc.reset_peak()
    try:
        yield seen
    finally:
        seen.most = tracemalloc.get_traced_memory()[1] - before
        if not was_tracing:
            tracemalloc.stop()
