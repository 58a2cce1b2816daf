"""Tasks of Ansible under way: its lines in, what happened out."""

from __future__ import annotations

import contextlib
import select
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace

from polyarch.contract import MAX_OUTPUT, FleetResult, FleetStarted, FleetStatus
from polyarch_plugins.fleet_engines.ansible.events import AnsibleEvent, parse_line
from polyarch_plugins.fleet_engines.ansible.inventory import messages
from polyarch_plugins.fleet_engines.ansible.play import Play
from polyarch_plugins.fleet_engines.ansible.statuses import failed_status, unreachable_status
from polyarch_plugins.fleet_engines.feeding import Feeder
from polyarch_plugins.fleet_engines.supervised import Supervised

_GRACE = 5.0
"""Seconds after a task's time limit in which Ansible has to say so by itself."""

_BEGIN = 600.0
"""Seconds in which Ansible has to begin: an inventory may ask a cloud."""

_CHUNK = 1 << 18
# Output and errors twice each (`stdout`, `stdout_lines`), and six characters for one in JSON.
_MAX_LINE = 4 * 6 * MAX_OUTPUT


class AnsibleRun:
    """Satisfies `FleetRun`. `numbers` are the devices of the play; without a `process` there are none."""

    def __init__(
        self,
        play: Play,
        numbers: Mapping[str, int],
        process: Supervised | None,
        inputs: Mapping[str, Callable[[], Iterable[bytes]]],
        forks: int,
    ) -> None:
        self._play, self._numbers, self._process, self._inputs, self._forks = play, numbers, process, inputs, forks
        self._lock = threading.Lock()
        self._shown = set[str]()
        self._skipped = set[str]()
        self._began: dict[str, float] = {}
        self._late_at: dict[str, float] = {}  # by the clock that nobody sets; in the order in which they began
        self._left = dict.fromkeys(numbers)
        self._hung = set[str]()
        self._feeders: dict[str, Feeder] = {}
        self._ended = threading.Event()
        self._stuck = ""

    def skip(self, devices: Iterable[str]) -> None:
        """A file for each keeps Ansible from beginning with it."""
        for name in devices:
            with self._lock:
                if name not in self._numbers or name in self._shown or name in self._skipped:
                    continue
                self._skipped.add(name)
            with contextlib.suppress(OSError):  # it has ended, and its folder is gone
                (self._play.gate / str(self._numbers[name])).touch()

    def end(self) -> None:
        """Kill Ansible and all below it."""
        self._ended.set()
        if self._process is not None:
            self._process.end()

    def close(self) -> None:
        """End it, and wait until nothing is left."""
        self.end()
        for feeder in self._feeders.values():
            feeder.stop()
        if self._process is not None:
            self._process.close()

    def __iter__(self) -> Iterator[FleetStarted | FleetResult]:
        if self._process is None:
            return
        for line in self._lines(self._process):
            event = None if line is None else parse_line(line)
            if event is not None and event.host in self._numbers:
                yield from self._told(event)
            yield from self._late()
        code = self._process.wait()
        yield from self._rest(code)

    def _lines(self, process: Supervised) -> Iterator[bytes | None]:
        """The lines as they come; None where a moment passes without one. What is too long for a line is lost."""
        begin = time.monotonic() + _BEGIN
        descriptor, buffer, searched, lost = process.stdout.fileno(), bytearray(), 0, False
        while True:
            if not select.select([descriptor], [], [], 1.0)[0]:
                if not self._began and time.monotonic() > begin:
                    self._give_up("Ansible does not begin")
                yield None
                continue
            data = process.stdout.read(_CHUNK)
            if not data:
                return
            buffer += data
            while (end := buffer.find(b"\n", searched)) >= 0:
                if not lost:
                    yield bytes(buffer[:end])
                del buffer[: end + 1]
                searched, lost = 0, False
            searched = len(buffer)
            if searched > _MAX_LINE:
                buffer.clear()
                searched, lost = 0, True

    def _told(self, event: AnsibleEvent) -> Iterator[FleetStarted | FleetResult]:
        name, now = event.host, time.time()
        self._hung.discard(name) if event.kind != "started" else None
        if name not in self._left:
            return
        if event.kind == "started":
            self._began[name] = now
            self._late_at[name] = time.monotonic() + self._play.timeout + _GRACE
            if self._play.input:
                self._feed(name)
            with self._lock:
                if name in self._skipped:
                    return  # whether it was in time will be seen
                self._shown.add(name)
            yield FleetStarted(name, now)
            return
        began = self._began.get(name, now)
        result = self._result(event, began, now)
        if result.status != "skipped" and name not in self._shown:
            yield FleetStarted(name, began)
        yield self._done(result)

    def _result(self, event: AnsibleEvent, began: float, ended: float) -> FleetResult:
        name, output, error = event.host, event.text("stdout")[:MAX_OUTPUT], event.text("stderr")[:MAX_OUTPUT]
        result = FleetResult(name, "done", output, error, event.code, began, ended)
        if event.kind == "ended":
            return result
        if event.kind == "skipped":
            return self._left_out(result)
        said = event.text("msg")[:MAX_OUTPUT]
        if event.timed_out:
            limit = f"it took longer than {self._play.timeout:g} seconds"
            return replace(result, status="timeout", error=limit, code=None)
        if event.kind == "unreachable":
            return self._unreachable(result, said)
        if event.code is not None:
            return replace(result, status="failed")
        status = failed_status(said)
        if status == "unauthorized" and self._play.input:
            said += " (it is sent bytes, and a password would be read from these: use a become without one)"
        return replace(result, status=status, error=said)

    def _left_out(self, result: FleetResult) -> FleetResult:
        if result.device in self._skipped:
            return replace(result, status="skipped", began=0, ended=0)
        status: FleetStatus = "failed" if self._play.input else "no-forwarding"
        what = "takes input" if self._play.input else "forwards ports"
        return replace(result, status=status, error=f"its connection is neither SSH nor local, and no other one {what}")

    def _unreachable(self, result: FleetResult, said: str) -> FleetResult:
        """ssh ended with 255: by itself, or because the script did."""
        path = self._play.log(self._numbers[result.device])
        try:
            log = path.read_bytes()[:65536].decode(errors="replace")
            path.unlink()
        except OSError:
            log = ""
        marked = self._play.ended_with_255
        if marked.strip() in said:
            error = said.partition("Failed to connect to the host via ssh: ")[2].replace(marked.strip(), "").rstrip()
            return replace(result, status="failed", error=error, code=255)
        return replace(result, status=unreachable_status(log, said), error=log.strip() or said, code=None)

    def _feed(self, name: str) -> None:
        number = self._numbers[name]
        process = self._process
        assert process is not None
        self._feeders[name] = Feeder(
            self._inputs[name], self._play.fifo(number), lambda: process.kill(self._play.mark(number))
        )

    def _late(self) -> Iterator[FleetResult]:
        """Those that Ansible does not end in time, though it was told to."""
        while self._late_at:
            name, late_at = next(iter(self._late_at.items()))
            if time.monotonic() < late_at:
                break
            self._hung.add(name)
            if self._process is not None:
                self._process.kill(self._play.mark(self._numbers[name]))
            error = f"it took longer than {self._play.timeout:g} seconds"
            yield self._done(FleetResult(name, "timeout", error=error, began=self._began[name], ended=time.time()))
        if len(self._hung) >= self._forks and self._left:
            self._give_up("Ansible does not go on: all its workers hang")

    def _give_up(self, why: str) -> None:
        self._stuck = why
        if self._process is not None:
            self._process.end()

    def _done(self, result: FleetResult) -> FleetResult:
        name = result.device
        self._left.pop(name, None)
        self._began.pop(name, None)
        self._late_at.pop(name, None)
        feeder = self._feeders.pop(name, None)
        if feeder is not None:
            feeder.stop()
            if feeder.error and result.status != "skipped":
                return replace(result, status="failed", error=f"what was to be sent cannot be read: {feeder.error}")
        return result

    def _rest(self, code: int) -> Iterator[FleetResult]:
        """Those of whom Ansible said nothing before it ended."""
        now = time.time()
        why = self._stuck
        if not why and not self._ended.is_set() and self._left:
            told = messages((self._play.folder / "errors").read_bytes()[-65536:].decode(errors="replace"))
            why = f"Ansible ended with {code}" + (f": {told[0]}" if told else "")
        for name in list(self._left):
            began = self._began.get(name, 0)
            if name in self._skipped and name not in self._shown:
                yield self._done(FleetResult(name, "skipped"))
            elif self._stuck or not self._ended.is_set():
                yield self._done(FleetResult(name, "failed", error=why, began=began, ended=now))
            else:
                yield self._done(FleetResult(name, "interrupted", error="ended from here", began=began, ended=now))
