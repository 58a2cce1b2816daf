"""Work on the layers of an image, side by side in processes: what is above begins before what is below is done."""

from __future__ import annotations

import contextlib
import mmap
import os
import pickle
import selectors
import signal
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import NoReturn, TypeAlias

from polyarch.container import syscalls
from polyarch.container.launch import FORWARDED, packed, unpacked
from polyarch.errors import HostError, StorageError
from polyarch.signals import interrupt_at_ending_signals

Wait: TypeAlias = Callable[[], None]
"""Returns once all jobs before this one have succeeded."""

Job: TypeAlias = Callable[[Wait], None]

_MAX_MESSAGE = 1 << 16


def in_processes(jobs: Sequence[Job], workers: int | None = None) -> None:
    """Do the jobs, each in a process of its own, `workers` at a time (None: as many as this process may have cores).

    They begin in their order and may end in any; each is given what waits for those before it. What a job raises is
    raised here, and the others are ended: they are interrupted (KeyboardInterrupt), and have tidied up when this
    returns. They end with this process, whatever ends it. Where one works alone, or there is one job, all is done here.
    """
    workers = workers or len(os.sched_getaffinity(0))
    if workers < 2 or len(jobs) < 2:
        for job in jobs:
            job(lambda: None)
        return
    crew = _Crew(jobs)
    try:
        crew.work(workers)
    finally:
        crew.close()


class BelowFailed(StorageError):
    """A job before this one was given up; why, that one tells."""


class _Crew:
    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._ends = [os.pipe() for _ in jobs]  # of each job: at its end when the job is
        self._succeeded = mmap.mmap(-1, len(jobs))  # shared with all of them: a byte for each
        self._pids: dict[int, int] = {}  # by the job's number
        self._said = selectors.DefaultSelector()
        self._errors: dict[int, BaseException] = {}

    def close(self) -> None:
        for number in range(len(self._jobs)):
            self._close(number, 0)
            self._close(number, 1)
        self._said.close()

    def work(self, workers: int) -> None:
        """Raises what the first of the jobs raises that fail."""
        waiting = deque(range(len(self._jobs)))
        try:
            while (waiting or self._pids) and not self._errors:
                while waiting and len(self._pids) < workers:
                    self._start(waiting.popleft())
                self._hear()
        finally:
            self._end_all()
        if self._errors:
            first = {number: error for number, error in self._errors.items() if not _follows(error)} or self._errors
            raise first[min(first)]

    def _start(self, number: int) -> None:
        listen, speak = os.pipe()
        parent = os.getpid()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        try:
            pid = os.fork()
            if pid == 0:
                self._be_child(number, speak, parent, before)
            self._pids[number] = pid
            self._said.register(listen, selectors.EVENT_READ, number)
        finally:
            os.close(speak)
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._close(number, 1)

    def _be_child(self, number: int, speak: int, parent: int, mask: set[int] | set[signal.Signals]) -> NoReturn:
        code = 1
        try:
            syscalls.die_with_parent()
            if os.getppid() != parent:
                os._exit(code)
            interrupt_at_ending_signals()
            for later in range(number + 1, len(self._jobs)):
                self._close(later, 1)
            signal.pthread_sigmask(signal.SIG_SETMASK, mask)
            self._jobs[number](partial(self._wait_for_those_before, number))
            self._succeeded[number] = 1
            code = 0
        except BaseException as error:
            with contextlib.suppress(BaseException):
                _write(speak, pickle.dumps(packed(error)))
        finally:
            os._exit(code)

    def _wait_for_those_before(self, number: int) -> None:
        for before in range(number):
            while os.read(self._ends[before][0], 1):
                pass
            if not self._succeeded[before]:
                raise BelowFailed("a layer below was given up")

    def _hear(self) -> None:
        """Wait until one job or more is done."""
        for key, _ in self._said.select():
            self._ended(key.data, key.fd)

    def _ended(self, number: int, listen: int) -> None:
        self._said.unregister(listen)
        with open(listen, "rb") as said:
            message = said.read()
        _, status = os.waitpid(self._pids.pop(number), 0)
        if message:
            self._errors[number] = unpacked(pickle.loads(message))
        elif status:
            self._errors[number] = HostError("a part of polyarch was killed", "try again")

    def _end_all(self) -> None:
        """What still works is interrupted, and waited for."""
        for pid in self._pids.values():
            os.kill(pid, signal.SIGTERM)
        while self._pids:
            try:
                self._hear()
            except KeyboardInterrupt:
                continue  # they are about to end

    def _close(self, number: int, end: int) -> None:
        ends = self._ends[number]
        if ends[end] >= 0:
            os.close(ends[end])
            self._ends[number] = (-1, ends[1]) if end == 0 else (ends[0], -1)


def _follows(error: BaseException) -> bool:
    """Whether another error is the reason for this one."""
    return isinstance(error, (BelowFailed, KeyboardInterrupt))


def _write(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]
