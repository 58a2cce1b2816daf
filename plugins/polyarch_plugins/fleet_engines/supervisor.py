"""A program: runs a command, and ends all that it left behind when the command ends or nobody wants it any more.

    python -I -S supervisor.py CONTROL MARK FOLDER COMMAND…

CONTROL is the descriptor of a socket whose other end the caller holds. The command begins when an empty line comes
through it. Each further line is a text in the command lines of processes to be killed with all below them. So are
orphans that have MARK there. When nothing more can come, even by the caller's sudden death, everything below here is
ended, also what has a session of its own (the workers of Ansible, ssh), and then FOLDER ("" for none) is removed.
What goes back is a line with the command's exit code, when it and all below here have ended.
It imports nothing of polyarch: it stays beside a command for as long as that runs.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_LOOK = 0.5
"""Seconds between two looks for orphans."""
_GRACE = 5.0
"""Seconds to put things in order."""


_UNWANTED = 128 + signal.SIGKILL.value


def main(control: int, mark: bytes, folder: str, argv: list[str]) -> None:
    """All of it. The exit code that goes back is 128 and more where a signal ended the command."""
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.set_inheritable(control, False)
    wake, woken = os.pipe()
    os.set_blocking(woken, False)
    signal.set_wakeup_fd(woken, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    if os.read(control, 1):
        command = _started(argv)
        for number in _IGNORED:
            signal.signal(number, signal.SIG_IGN)
        code = _watched(control, wake, mark, command)
        _end(command)
        with contextlib.suppress(OSError):  # nobody asks any more
            os.write(control, b"%d\n" % code)
        while os.read(control, 4096):
            pass
    if folder:
        os.execvp("rm", ["rm", "-rf", "--", folder])


def _started(argv: list[str]) -> int:
    child = os.fork()
    if child == 0:
        try:
            for given in (signal.SIGINT, signal.SIGPIPE):  # Python has its own way with these
                signal.signal(given, signal.SIG_DFL)
            os.execvp(argv[0], argv)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode(errors="replace"))
        finally:
            os._exit(127)
    nothing = os.open("/dev/null", os.O_RDWR)
    for number in (0, 1, 2):  # who reads the command's output sees its end
        os.dup2(nothing, number)
    return child


def _watched(control: int, wake: int, mark: bytes, command: int) -> int:
    """Until the command ends: its exit code. Until nothing more can come: 137."""
    asked = b""
    while True:
        ready = select.select([control, wake], [], [], _LOOK)[0]
        if wake in ready:
            os.read(wake, 4096)
        code = _reap(command)
        if code is not None:
            return code
        if control in ready:
            data = os.read(control, 4096)
            if not data:
                return _UNWANTED
            *marks, asked = (asked + data).split(b"\n")
            parents = _parents()
            for wanted in filter(None, marks):
                _kill_trees([pid for pid in _below(os.getpid(), parents) if wanted in _command_line(pid)], parents)
        if mark:
            parents = _parents()
            orphans = [pid for pid, parent in parents.items() if parent == os.getpid() and pid != command]
            _kill_trees([pid for pid in orphans if mark in _command_line(pid)], parents)


def _end(command: int) -> None:
    """Ask all below to end, who may have to put things in order; after a while nobody is asked.

    What they start for that is let alone, but for those that nobody waits for any more.
    """
    parents = _parents()
    below = _below(os.getpid(), parents)
    asked, patience = set[int](), time.monotonic() + _GRACE
    while below:
        new = [pid for pid in below if pid not in asked and (not asked or parents[pid] == os.getpid())]
        _kill(new, signal.SIGTERM)
        asked.update(new)
        if time.monotonic() > patience:
            _kill(below)
        time.sleep(0.02)
        _reap(command)
        parents = _parents()
        below = _below(os.getpid(), parents)


def _reap(command: int) -> int | None:
    """Wait for those that ended; the exit code of the command if it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                break
            if pid == command:
                code = os.waitstatus_to_exitcode(status)
    return code if code is None or code >= 0 else 128 - code


def _kill_trees(roots: list[int], parents: dict[int, int]) -> None:
    for root in roots:
        _kill([root, *_below(root, parents)])


def _kill(pids: list[int], number: signal.Signals = signal.SIGKILL) -> None:
    for pid in pids:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(pid, number)


def _below(root: int, parents: dict[int, int]) -> list[int]:
    """All processes below a process, the nearest first."""
    children: dict[int, list[int]] = {}
    for pid, parent in parents.items():
        children.setdefault(parent, []).append(pid)
    found = list(children.get(root, ()))
    for pid in found:
        found += children.get(pid, ())
    return found


def _parents() -> dict[int, int]:
    """The parent of each process (proc(5): the second field of stat may hold anything, the fourth is it)."""
    found = {}
    for name in os.listdir("/proc"):  # noqa: PTH208
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                found[int(name)] = int(_read(f"/proc/{name}/stat").rpartition(b")")[2].split()[1])
    return found


def _command_line(pid: int) -> bytes:
    with contextlib.suppress(OSError):
        return _read(f"/proc/{pid}/cmdline")
    return b""


def _read(path: str) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123
        return file.read()


if __name__ == "__main__":
    main(int(sys.argv[1]), os.fsencode(sys.argv[2]), sys.argv[3], sys.argv[4:])
    os._exit(0)
