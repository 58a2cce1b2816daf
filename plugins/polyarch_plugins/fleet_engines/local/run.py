"""Scripts under way on this machine."""

from __future__ import annotations

import os
import selectors
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from polyarch.contract import MAX_OUTPUT, FleetResult, FleetStarted, FleetTask, HostError
from polyarch_plugins.fleet_engines.feeding import Feeder
from polyarch_plugins.fleet_engines.shell import assignments
from polyarch_plugins.fleet_engines.supervised import Supervised

_CHUNK = 1 << 16
_SLICE = 1.0
"""Seconds that are waited at once: a signal that comes just before a wait begins is looked at when it is over."""
_GRACE = 10.0
"""Seconds after the time limit in which all that was started is gone, and its output with it: what was handed to
somebody else (a socket takes descriptors, too) may never be.
"""


class LocalRun:
    """Satisfies `FleetRun`. `ours` are further variables of the script."""

    def __init__(
        self,
        environ: Mapping[str, str],
        script: str,
        tasks: Sequence[FleetTask],
        inputs: Mapping[str, Callable[[], Iterable[bytes]]],
        timeout: float,
        ours: Mapping[str, str],
    ) -> None:
        self._environ, self._inputs, self._timeout = environ, inputs, timeout
        self._texts = [(task.device.name, assignments({**ours, **task.values}) + script) for task in tasks]
        self._lock = threading.Lock()
        self._skipped = set[str]()
        self._ended = False
        self._process: Supervised | None = None
        self._feeder: Feeder | None = None

    def skip(self, devices: Iterable[str]) -> None:
        """As the contract says."""
        with self._lock:
            self._skipped.update(devices)

    def end(self) -> None:
        """Kill the script and all below it."""
        with self._lock:
            self._ended = True
            if self._process is not None:
                self._process.end()

    def __iter__(self) -> Iterator[FleetStarted | FleetResult]:
        for name, text in self._texts:
            process, began, fault = None, time.time(), ""
            with self._lock:
                skipped = name in self._skipped
                try:
                    if not skipped and not self._ended:
                        process = self._process = self._started(name, text)
                except HostError as error:
                    fault = error.message
            if fault:
                yield FleetResult(name, "failed", error=fault, began=began, ended=time.time())
                continue
            if process is None:
                yield FleetResult(name, "skipped" if skipped else "interrupted")
                continue
            try:
                yield FleetStarted(name, began)
                yield self._finished(name, process, began)
            finally:
                with self._lock:
                    self._process = None
                process.close()
                if self._feeder is not None:
                    self._feeder.stop()

    def _started(self, name: str, text: str) -> Supervised:
        argv = ["/bin/sh", "-c", text]
        if name not in self._inputs:
            return Supervised(argv, self._environ)
        reader, writer = os.pipe()
        try:
            process = Supervised(argv, self._environ, stdin=reader)
        except BaseException:
            os.close(writer)
            raise
        finally:
            os.close(reader)
        self._feeder = Feeder(self._inputs[name], writer, process.end)
        return process

    def _finished(self, name: str, process: Supervised, began: float) -> FleetResult:
        output, errors, late = _output_of(process, time.monotonic() + self._timeout)
        code = process.wait()
        result = FleetResult(name, "done", _text(output), _text(errors), code, began, time.time())
        fed, self._feeder = self._feeder, None
        if fed is not None:
            fed.stop()
            if fed.error:
                error = f"what was to be sent cannot be read: {fed.error}"
                return replace(result, status="failed", error=error, code=None)
        if late:
            error = f"it took longer than {self._timeout:g} seconds"
            return replace(result, status="timeout", error=error, code=None)
        if self._ended:
            return replace(result, status="interrupted", error="ended from here", code=None)
        return replace(result, status="failed") if code else result


def _output_of(process: Supervised, deadline: float) -> tuple[bytes, bytes, bool]:
    """What a process writes until its end, each bounded; True with it where it was late, and was ended for that."""
    parts = {process.stdout: bytearray(), process.stderr: bytearray()}
    late, end = False, deadline
    with selectors.DefaultSelector() as selector:
        for stream in parts:
            selector.register(stream, selectors.EVENT_READ)
        while selector.get_map():
            ready = selector.select(min(_SLICE, max(0.0, end - time.monotonic())))
            if time.monotonic() >= end:
                if late:
                    break
                late, end = True, end + _GRACE
                process.end()
            for key, _ in ready:
                data = os.read(key.fd, _CHUNK)
                if not data:
                    selector.unregister(key.fileobj)
                kept = parts[key.fileobj]  # type: ignore[index]
                kept += data[: MAX_OUTPUT - len(kept)]
    return bytes(parts[process.stdout]), bytes(parts[process.stderr]), late


def _text(data: bytes) -> str:
    return data.decode(errors="surrogateescape")
