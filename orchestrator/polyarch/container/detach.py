"""Starting a container that outlives the command: a process of its own stays with it (monitor.py)."""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import socket
import sys
import termios
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

from polyarch.container import monitor
from polyarch.container.console import CONSOLE, listen
from polyarch.container.launch import packed, unpacked
from polyarch.container.runtime import complaint
from polyarch.container.state import Container
from polyarch.errors import HostError
from polyarch_platforms.lazy_dataclass import dataclass

STARTING = "starting"
"""A FIFO in the container's directory: the runtime takes it away once the program runs (`started_hook`)."""

_MAX_MESSAGE = 1 << 16
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


TERMINAL = (24, 80)
"""Rows and columns of a terminal that nobody looks at."""


@dataclass(frozen=True, slots=True)
class Streams:
    """A detached container's input and output: what it has as 0, 1 and 2, and the other ends.

    `outside` are the files that its output comes out of, with the name of the stream; "console" is the socket that its
    terminal comes through, at the path `console`. `held` stay open unused.
    """

    inside: tuple[int, int, int]
    outside: Mapping[int, str]
    held: tuple[int, ...] = ()
    console: Path | None = None


def open_streams(directory: Path, *, tty: bool, interactive: bool, hands_console_over: bool) -> Streams:
    """A terminal, or two pipes; with `interactive` the input does not end."""
    if tty and hands_console_over:
        nowhere = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        return Streams((nowhere,) * 3, {listen(directory).detach(): "console"}, console=directory / CONSOLE)
    if tty:
        master, slave = os.openpty()
        termios.tcsetwinsize(slave, TERMINAL)
        return Streams((slave,) * 3, {master: "stdout"})
    (output, output_end), (errors, errors_end) = os.pipe(), os.pipe()
    into, into_end = os.pipe() if interactive else (os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC), None)
    held = () if into_end is None else (into_end,)
    return Streams((into, output_end, errors_end), {output: "stdout", errors: "stderr"}, held)


def started_hook(directory: Path) -> Mapping[str, object]:
    """The runtime's hook for the moment after the program's start (runtime-spec, config.md, "Posix-platform Hooks")."""
    script = 'exec 3<>"$0" && rm -f "$0"'  # opened for both, it waits for nobody
    return {"path": "/bin/sh", "args": ["sh", "-c", script, str(directory / STARTING)]}


def detach(container: Container, start: Callable[[], tuple[int, Streams]]) -> None:
    """Call `start` in a process of its own, which stays with what that has started; returns once the program runs.

    `start` gives the process ID of the runtime and the container's streams. Raises what it raised, and what the runtime
    complained of.
    """
    fifo = container.directory / STARTING
    os.mkfifo(fifo, 0o600)
    begun = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with ours:
            with theirs:
                first = os.fork()
                if first == 0:
                    _leave(container, start, theirs)
            os.waitpid(first, 0)
            _await(container, begun, ours)
    finally:
        os.close(begun)


def _await(container: Container, begun: int, channel: socket.socket) -> None:
    """Until the runtime's hook has run, or nobody is left who could start anything."""
    monitor_pid = 0
    poll = select.poll()
    poll.register(begun, 0)
    poll.register(channel, select.POLLIN)
    try:
        while True:
            ready = [number for number, _ in poll.poll()]
            if begun in ready:
                return
            message = channel.recv(_MAX_MESSAGE)
            if not message:
                break
            value = pickle.loads(message)
            if isinstance(value, int):
                monitor_pid = value
            else:
                raise unpacked(value)
    except KeyboardInterrupt:
        if monitor_pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(monitor_pid, signal.SIGKILL)
        channel.recv(_MAX_MESSAGE)  # until it is gone, and the container with it
        raise
    if not (container.directory / STARTING).exists():
        return  # it ran, and has ended already
    failure = complaint(container.directory / "log", container.record.command[0])
    raise failure or HostError("the container ended before its program started", "try it without -d to see more")


def _leave(container: Container, start: Callable[[], tuple[int, Streams]], channel: socket.socket) -> NoReturn:
    """In the first child: a session of its own, no parent, and none of this process's files."""
    try:
        os.setsid()
        if os.fork():
            os._exit(0)
        channel.send(pickle.dumps(os.getpid()))
        _forget_files(keep=(container.lock, channel.fileno()))
        pid, streams = start()
        _become_monitor(container, pid, streams, channel)
    except BaseException as error:
        channel.send(pickle.dumps(packed(error)))
    os._exit(1)


def _forget_files(keep: tuple[int, ...]) -> None:
    """Close what came along, which may be locked as long as somebody has it open; 0, 1 and 2 lead to nowhere."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nowhere, number)
    numbers = [int(name) for name in os.listdir("/proc/self/fd")]  # noqa: PTH208  # names, and no paths
    for number in numbers:
        if number > 2 and number not in keep:
            with contextlib.suppress(OSError):
                os.close(number)


def _become_monitor(container: Container, pid: int, streams: Streams, channel: socket.socket) -> NoReturn:
    for number in (container.lock, channel.fileno(), *streams.outside, *streams.held):
        os.set_inheritable(number, True)
    for number in set(streams.inside):
        os.close(number)
    pairs = ",".join(f"{number}:{name}" for number, name in streams.outside.items())
    words = [str(monitor.__file__), str(container.directory), str(pid), pairs, os.pathsep.join(sys.path)]
    os.execve(sys.executable, [sys.executable, "-I", "-S", *words], {"PATH": _PATH})
