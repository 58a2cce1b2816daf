"""Programs beside this process that are root in namespaces of their own, with emulators registered in there.

::

    this process ── python -m polyarch.container.apart ── the program, process 1 of a PID namespace
                       one thread, so that it can fork        user namespace: the user's subordinate IDs
                       dies with this process                 its own binfmt_misc and /proc

Whichever of the three ends takes all below it along: the kernel ends what is left in the PID namespace.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO

from polyarch.container import syscalls
from polyarch.container.emulation import Emulators, exit_code, register_privately
from polyarch.container.id_maps import as_root, same_ids_in_parts
from polyarch.container.launch import Launch, packed, unpacked
from polyarch.container.own_proc import mount_proc, proc_refused
from polyarch.errors import HostError, InterruptedPull, PolyarchError, printable
from polyarch_platforms.lazy_dataclass import dataclass

_LINE = 64 << 10
"""Bytes of a line that are kept; what is longer comes in parts."""


@dataclass(frozen=True, slots=True)
class _Start:
    """What the helper is told: the words, all of the environment, and what to register."""

    argv: tuple[str, ...]
    environ: Mapping[str, str]
    emulators: Emulators
    parent: int


class ProgramsApart:
    """Runs programs, each in namespaces of its own; its methods may be called from any thread."""

    def __init__(self, emulators: Callable[[], Emulators]) -> None:
        """`emulators` are those to register, looked up when the first program starts."""
        self._find = emulators
        self._found: Emulators | None = None
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[bytes]] = set()
        self._ended = False

    def run(self, argv: Sequence[str], environ: Mapping[str, str], line: Callable[[str], None]) -> int:
        """What `contract.RunsEmulated` says."""
        answer, theirs = os.pipe()
        with os.fdopen(answer, "rb") as answers:
            try:
                process = self._started(argv, environ, theirs)
            finally:
                os.close(theirs)
            try:
                assert process.stdout is not None
                for text in _lines(process.stdout):  # it ends when nothing is left that could write
                    line(text)
                data = answers.read()
                process.wait()
            finally:
                with self._lock:
                    self._running.discard(process)
                _kill(process)
        if not data:
            if self._ended:
                raise InterruptedPull("interrupted")
            raise HostError("a part of polyarch was killed", "try again")
        outcome = pickle.loads(data)
        if isinstance(outcome, int):
            return outcome
        raise unpacked(outcome)

    def _started(self, argv: Sequence[str], environ: Mapping[str, str], answer: int) -> subprocess.Popen[bytes]:
        with self._lock:
            if self._ended:
                raise InterruptedPull("interrupted")
            if self._found is None:
                self._found = self._find()
            start = _Start(tuple(argv), dict(environ), self._found, os.getpid())
            process = subprocess.Popen(
                [sys.executable, "-P", "-m", __name__, str(answer)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                pass_fds=(answer,),
                start_new_session=True,  # what is typed (Ctrl-C) reaches this process alone
                bufsize=0,
            )
            self._running.add(process)
        assert process.stdin is not None
        with process.stdin, contextlib.suppress(BrokenPipeError):
            process.stdin.write(pickle.dumps(start))
        return process

    def end(self) -> None:
        """End all that runs; what is asked for from now on is refused, until `again`."""
        with self._lock:
            self._ended = True
            for process in self._running:
                process.kill()

    def again(self) -> None:
        """Programs may be started again."""
        with self._lock:
            self._ended = False


def _kill(process: subprocess.Popen[bytes]) -> None:
    """After a failure here, all of it is ended, and waited for."""
    process.kill()
    process.wait()
    assert process.stdout is not None
    with process.stdout, contextlib.suppress(ValueError):
        while process.stdout.read(_LINE):
            pass


def _lines(stream: IO[bytes]) -> Iterator[str]:
    kept = b""
    while data := stream.read(_LINE):
        *lines, kept = (kept + data).split(b"\n")
        if len(kept) > _LINE:
            lines, kept = [*lines, kept], b""
        for each in lines:
            yield each.decode("utf-8", "replace").rstrip("\r")
    if kept:
        yield kept.decode("utf-8", "replace")


def _main(answer: int) -> None:
    """The helper: reads what to start from standard input, and writes to `answer` the exit code or what went wrong."""
    syscalls.die_with_parent()
    os.set_inheritable(answer, False)
    start: _Start = pickle.loads(sys.stdin.buffer.read())
    if os.getppid() != start.parent:
        return
    outcome: object
    try:
        outcome = exit_code(_launch(start).run())
    except PolyarchError as error:
        outcome = packed(error)
    except OSError as error:
        outcome = packed(HostError(f"{printable(start.argv[0], 200)} cannot be started: {error.strerror}"))
    with os.fdopen(answer, "wb") as stream:
        stream.write(pickle.dumps(outcome))


def _launch(start: _Start) -> Launch:
    program = shutil.which(start.argv[0], path=start.environ.get("PATH", os.defpath))
    if program is None:
        raise HostError(f"{printable(start.argv[0], 200)} is not there")

    def mounts() -> None:
        with proc_refused():
            mount_proc()
        if start.emulators:
            register_privately(start.emulators)

    def command() -> Sequence[str]:
        nothing = os.open("/dev/null", os.O_RDONLY)
        os.dup2(nothing, 0)
        return (program, *start.argv[1:])

    outer = same_ids_in_parts() if os.geteuid() == 0 else as_root()
    return Launch(command, mounts, outer=outer, environment=dict(start.environ))


if __name__ == "__main__":
    _main(int(sys.argv[1]))
