"""Stays with a detached container: keeps what it writes, passes signals on, and notes the code that it ends with.

A script of its own, started in place of the process that has started the container (execve keeps its children), so
that a small interpreter is all that stays in memory for each container: it imports nothing of polyarch before the end.

::

    monitor.py DIRECTORY PID STREAMS IMPORTS

`DIRECTORY` is the container's, `PID` the child to wait for, `STREAMS` the open files to read (`5:stdout,7:stderr`), or
the socket that the container's terminal comes through (`5:console`), `IMPORTS` where polyarch is imported from.
Further open files are held until the end: the container's lock, the channel to whoever waits for the start.

The log has the form of Kubernetes' container runtimes (CRI logging): `TIME STREAM F|P TEXT`, the time in UTC (RFC 3339
with nanoseconds), P for a line that goes on in the next.
"""

from __future__ import annotations

import errno
import json
import os
import select
import signal
import sys
import time

_CHUNK = 1 << 16
_LONGEST = 1 << 14  # as docker and containerd cut lines: 16 KiB
_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2)


class Log:
    """The file that lines are added to, of several streams."""

    def __init__(self, path: str) -> None:
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._waiting: dict[str, bytes] = {}

    def add(self, stream: str, data: bytes) -> None:
        """Write all lines that are whole, or too long to wait for their end."""
        *lines, rest = (self._waiting.get(stream, b"") + data).split(b"\n")
        stamp = _stamp()
        text = b"".join(_line(stamp, stream, line) for line in lines)
        while len(rest) >= _LONGEST:
            text += _line(stamp, stream, rest[:_LONGEST], b"P")
            rest = rest[_LONGEST:]
        self._waiting[stream] = rest
        self._write(text)

    def close(self) -> None:
        """What waits for its end gets none any more."""
        stamp = _stamp()
        self._write(b"".join(_line(stamp, stream, rest, b"P") for stream, rest in self._waiting.items() if rest))
        os.close(self._file)

    def _write(self, text: bytes) -> None:
        """A full disk loses lines; the container goes on."""
        try:
            while text:
                text = text[os.write(self._file, text) :]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG):
                raise


def _line(stamp: bytes, stream: str, text: bytes, tag: bytes = b"F") -> bytes:
    parts = [text[start : start + _LONGEST] for start in range(0, len(text), _LONGEST)] or [b""]
    tags = [b"P"] * (len(parts) - 1) + [tag]
    return b"".join(b"%s %s %s %s\n" % (stamp, stream.encode(), one, part) for one, part in zip(tags, parts))  # noqa: B905


def _stamp() -> bytes:
    seconds, nanoseconds = divmod(time.time_ns(), 1_000_000_000)
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)).encode() + b".%09dZ" % nanoseconds


def wait(pid: int, streams: dict[int, str], log: Log) -> int:
    """Copy until the child has ended and nothing is left to read; its wait status."""
    woken, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda number, frame: None)
    for number in _SIGNALS:
        signal.signal(number, lambda number, frame: _pass_on(pid, number))
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (*_SIGNALS, signal.SIGCHLD))
    for file in streams:
        os.set_blocking(file, False)
    poll = select.poll()
    for file in (woken, *streams):
        poll.register(file, select.POLLIN)
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            for file, name in streams.items():
                place, stream = (_terminal(file), "stdout") if name == "console" else (file, name)
                while place is not None and _copy(place, stream, log):
                    pass
            return status
        for file, _ in poll.poll():
            if file == woken:
                os.read(woken, _CHUNK)
            elif streams[file] == "console":
                terminal = _terminal(file)
                if terminal is not None:
                    poll.unregister(file)
                    poll.register(terminal, select.POLLIN)
                    streams = {terminal: "stdout"}
            elif not _copy(file, streams[file], log):
                poll.unregister(file)


def _terminal(listener: int) -> int | None:
    """The container's terminal, which the runtime hands over (OCI runtime command line); None if it has not yet."""
    import socket

    with socket.socket(fileno=os.dup(listener)) as waiting:
        try:
            connection, _ = waiting.accept()
        except BlockingIOError:
            return None
        with connection:
            connection.setblocking(True)
            _, (terminal,), _, _ = socket.recv_fds(connection, 4096, 1)
    os.set_blocking(terminal, False)
    return terminal


def _pass_on(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass


def _copy(file: int, name: str, log: Log) -> bool:
    """Copy what is there; False if nothing is, or nothing will come any more."""
    try:
        data = os.read(file, _CHUNK)
    except OSError:  # nothing there now (EAGAIN), or a terminal that nobody has open (EIO)
        return False
    log.add(name, data)
    return bool(data)


def note_end(directory: str, code: int) -> bool:
    """Put the exit code into the record; whether the container is to go. A damaged record stays as it is."""
    path = os.path.join(directory, "container.json")
    finished = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime())
    try:
        with open(path, "rb") as stream:
            record = json.load(stream)
        record.update(status="exited", pid=0, exit_code=code, finished=finished)
    except (OSError, ValueError, AttributeError, RecursionError):
        return False
    temporary = os.path.join(directory, ".container.json")
    with open(temporary, "w", encoding="ascii") as stream:
        json.dump(record, stream, indent=1)
    os.replace(temporary, path)
    return record.get("rm") is True


def main(directory: str, pid: str, streams: str, imports: str) -> None:
    """See the top of this file."""
    os.chdir("/")
    pairs = [pair.split(":") for pair in streams.split(",")]
    log = Log(os.path.join(directory, "output"))
    status = wait(int(pid), {int(number): name for number, name in pairs}, log)
    log.close()
    code = os.waitstatus_to_exitcode(status)
    going = note_end(directory, code if code >= 0 else 128 - code)
    # A container that never started is left to whoever waits for it.
    going = going and not os.path.exists(os.path.join(directory, "starting"))
    if going or code < 0:
        sys.path[:] = imports.split(os.pathsep)
        from polyarch.container.state import tidy

        tidy(directory, remove=going)


if __name__ == "__main__":
    main(*sys.argv[1:])
