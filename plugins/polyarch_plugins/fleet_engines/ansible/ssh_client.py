"""A program that Ansible calls in place of ssh, and that calls it: for what no setting of Ansible can do.

    python -I -S ssh_client.py PROGRAM FOLDER TOKEN REACH MUST LIMIT ARGUMENT…

PROGRAM is the real ssh, ARGUMENT… what Ansible tells it: the last one is the command for the device. There stands
`@TOKEN:NUMBER:PORT,PORT…@`, which becomes the port of the device's loopback from which REACH (a port of ours; 0 for
none) can be reached: the first of them that is free there. MUST is 1 where the command makes no sense without.

- Options that come first win (ssh_config(5)), so these hold whatever else Ansible and the user say: no connection that
  outlives its command or serves others, messages of their usual kind.
- ssh's own messages go into FOLDER/log/NUMBER, apart from what the device says, and to the errors at the end.
- Of the output LIMIT bytes are handed on, and as many of the errors. The rest is read and forgotten.
- The input comes from FOLDER/in/NUMBER where that FIFO exists.
- That Ansible asks for compression (its default of `ssh_args` begins with `-C`) is not handed on: layers are compressed
  already. `Compression yes` of ssh's own files still counts.

It imports nothing of polyarch, and little of Python: one runs for each device.
"""

from __future__ import annotations

import os
import select
import sys

_CHUNK = 1 << 16
_REFUSED = b"remote port forwarding failed"
_LAST = 500
"""Milliseconds in which ssh's output has to come after its end: what it leaves behind may hold the pipe open."""


def main(words: list[str]) -> int:
    """The exit code of ssh."""
    program, folder, token, reach, must, limit, *arguments = words
    before, mark, rest = arguments[-1].partition(f"@{token}:") if arguments else ("", "", "")
    if not mark:
        os.execvp(program, [program, *arguments])
    place, _, after = rest.partition("@")
    number, _, ports = place.partition(":")
    log, code = f"{folder}/log/{number}", 255
    told = [word for word in arguments[:-1] if word != "-C"]
    for port in ports.split(","):
        os.close(os.open(log, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600))
        options = _options(log, int(reach), port, must == "1")
        argv = [program, *options, *told, before + port + after]
        code = _run(argv, f"{folder}/in/{number}", int(limit))
        if code != 255 or _REFUSED not in _read(log):
            break
    _hand_on(2, _read(log))
    return code


def _options(log: str, reach: int, port: str, must: bool) -> list[str]:
    options = {
        "LogLevel": "INFO",
        "ControlMaster": "no",
        "ControlPath": "none",
        "RequestTTY": "no",
        "RemoteCommand": "none",
        "ServerAliveInterval": "15",
        "ServerAliveCountMax": "8",
    }
    if reach:
        options["ExitOnForwardFailure"] = "yes" if must else "no"
    words = ["-E", log, *(word for name, value in options.items() for word in ("-o", f"{name}={value}"))]
    return [*words, *(["-R", f"127.0.0.1:{port}:127.0.0.1:{reach}"] if reach else [])]


def _run(argv: list[str], fifo: str, limit: int) -> int:
    """Run ssh to its end; its exit code, 255 where a signal was it."""
    pipes = [os.pipe(), os.pipe()]
    child = os.fork()
    if child == 0:
        try:
            if os.path.exists(fifo):  # noqa: PTH110
                os.dup2(os.open(fifo, os.O_RDONLY), 0)
            os.dup2(pipes[0][1], 1)
            os.dup2(pipes[1][1], 2)
            os.execvp(argv[0], argv)
        except OSError as error:
            os.write(2, f"{argv[0]}: {error.strerror}\n".encode(errors="replace"))
        finally:
            os._exit(127)
    for _, writer in pipes:
        os.close(writer)
    left = {pipes[0][0]: [1, limit], pipes[1][0]: [2, limit]}
    ended = os.pidfd_open(child)
    poll = select.poll()
    for descriptor in (*left, ended):
        poll.register(descriptor, select.POLLIN)
    code: int | None = None
    while left and (ready := poll.poll(None if code is None else _LAST)):
        for descriptor, _ in ready:
            if descriptor == ended:
                poll.unregister(ended)
                code = _waited(child)
            elif data := os.read(descriptor, _CHUNK):
                target = left[descriptor]
                _hand_on(target[0], data[: target[1]])
                target[1] -= min(target[1], len(data))
            else:
                poll.unregister(descriptor)
                del left[descriptor]
    return _waited(child) if code is None else code


def _waited(child: int) -> int:
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return code if code >= 0 else 255


def _hand_on(descriptor: int, data: bytes) -> None:
    while data:
        data = data[os.write(descriptor, data) :]


def _read(path: str) -> bytes:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        return os.read(descriptor, _CHUNK)
    finally:
        os.close(descriptor)


if __name__ == "__main__":
    os._exit(main(sys.argv[1:]))
