"""A fleet engine whose devices are shells of this machine, each with an environment of its own."""

from __future__ import annotations

import contextlib
import os
import queue
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from polyarch.contract.fleet import FleetDevice, FleetResult, FleetStarted, FleetStatus, FleetTask


@dataclass
class Shell:
    """A device: its environment, the words that start its shell, and what is made of it instead of a run."""

    environ: Mapping[str, str]
    words: tuple[str, ...] = ("/bin/sh",)
    instead: FleetStatus | None = None
    forwards: bool = True


@dataclass
class ShellFleet:
    """Satisfies FleetEngine and SendsInput. `runs` are the tasks that were begun, and `most` how many at once."""

    shells: Mapping[str, Shell]
    runs: list[FleetTask] = field(default_factory=list)
    most: int = 0

    def devices(self, inventory: Sequence[str], pattern: str) -> Sequence[FleetDevice]:
        return [FleetDevice(name) for name in self.shells]

    @contextmanager
    def run(
        self,
        script: str,
        tasks: Sequence[FleetTask],
        *,
        forks: int,
        timeout: float,
        reach: int | None = None,
        must_reach: bool = True,
    ) -> Iterator[ShellRun]:
        with self._running(script, tasks, {}, forks, timeout, reach) as run:
            yield run

    @contextmanager
    def run_with_input(
        self,
        script: str,
        tasks: Sequence[FleetTask],
        inputs: Mapping[str, Callable[[], Iterable[bytes]]],
        *,
        forks: int,
        timeout: float,
    ) -> Iterator[ShellRun]:
        with self._running(script, tasks, inputs, forks, timeout, None) as run:
            yield run

    @contextmanager
    def _running(
        self,
        script: str,
        tasks: Sequence[FleetTask],
        inputs: Mapping[str, Callable[[], Iterable[bytes]]],
        forks: int,
        timeout: float,
        reach: int | None,
    ) -> Iterator[ShellRun]:
        run = ShellRun(self, script, inputs, timeout, reach, len(tasks))
        with ThreadPoolExecutor(forks) as pool:
            for task in tasks:
                pool.submit(run.do, task)
            try:
                yield run
            finally:
                run.end()


class ShellRun:
    """Satisfies FleetRun."""

    def __init__(
        self,
        fleet: ShellFleet,
        script: str,
        inputs: Mapping[str, Callable[[], Iterable[bytes]]],
        timeout: float,
        reach: int | None,
        count: int,
    ) -> None:
        self._fleet, self._script, self._inputs, self._timeout, self._reach = fleet, script, inputs, timeout, reach
        self._events: queue.SimpleQueue[FleetStarted | FleetResult] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._processes: set[subprocess.Popen[bytes]] = set()
        self._skipped: set[str] = set()
        self._ended, self._left = False, count

    def __iter__(self) -> Iterator[FleetStarted | FleetResult]:
        while self._left:
            event = self._events.get()
            self._left -= isinstance(event, FleetResult)
            yield event

    def skip(self, devices: Iterable[str]) -> None:
        self._skipped.update(devices)

    def end(self) -> None:
        with self._lock:
            self._ended = True
            for process in self._processes:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)

    def do(self, task: FleetTask) -> None:
        name, began = task.device.name, time.time()
        shell = self._fleet.shells[name]
        status: FleetStatus | None = shell.instead
        if self._reach is not None and not shell.forwards:
            status = "no-forwarding"
        if name in self._skipped:
            status = "skipped"
        if self._ended:
            status = "interrupted"
        if status:
            self._events.put(FleetResult(name, status, began=began, ended=began))
            return
        values = {**task.values, **({} if self._reach is None else {"port": str(self._reach)})}
        text = "".join(f"{key}={shlex.quote(value)}\n" for key, value in values.items()) + self._script
        # As a part of a shell that waits for it, with the same input: so it may be behind sshd, too.
        text = f"exec 3<&0\n(\n{text}\n) <&3 3<&- &\nexec 3<&-\nwait $!\nexit $?\n"
        # A group of its own, to be ended whole.
        process = subprocess.Popen(
            [*shell.words, "-c", text],
            env=dict(shell.environ),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )
        with self._lock:
            self._fleet.runs.append(task)
            self._processes.add(process)
            self._fleet.most = max(self._fleet.most, len(self._processes))
        self._events.put(FleetStarted(name, began))
        feeder = threading.Thread(target=self._feed, args=(process, name))
        feeder.start()
        ended: FleetStatus | None = None
        try:
            process.wait(self._timeout)
        except subprocess.TimeoutExpired:
            ended = "timeout"
            os.killpg(process.pid, signal.SIGKILL)
        feeder.join()
        with self._lock:
            self._processes.discard(process)
            ended = "interrupted" if self._ended and process.returncode else ended
        assert process.stdout
        assert process.stderr
        with process.stdout as output, process.stderr as errors:
            said, error = output.read().decode(errors="replace"), errors.read().decode(errors="replace")
        status = ended or ("done" if process.wait() == 0 else "failed")
        code = process.returncode if status in ("done", "failed") else None
        self._events.put(FleetResult(name, status, said, error, code, began, time.time()))

    def _feed(self, process: subprocess.Popen[bytes], name: str) -> None:
        assert process.stdin
        with contextlib.suppress(BrokenPipeError), process.stdin as stream:
            for piece in self._inputs.get(name, lambda: ())():
                stream.write(piece)
