"""Running the real `polyarch` command on a terminal of its own."""

from __future__ import annotations

import fcntl
import os
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping

from support.command import Polyarch


def on_a_terminal(
    polyarch: Polyarch,
    *words: str,
    width: int = 80,
    env: Mapping[str, str] | None = None,
    typed: Mapping[str, str] | None = None,
    through: str = "",
) -> tuple[int, str]:
    """Runs the command on a terminal of its own, where `typed` is given after each prompt. What it writes goes
    `through` words of a shell, if there are any: `| cat`.

    Its exit code and all that it wrote there.
    """
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, width, 0, 0))
    environment = {"PATH": os.environ["PATH"], "HOME": str(polyarch.root.parent), "TERM": "xterm-256color"}
    environment |= {"LANG": "C.UTF-8", "POLYARCH_ROOT": str(polyarch.root), **(env or {})}
    shell = ["sh", "-c", f'"$@" {through}', "sh"] if through else []
    process = subprocess.Popen(
        ["setsid", "--ctty", *shell, sys.executable, "-m", "polyarch", *words],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=environment,
    )
    os.close(theirs)
    answers, written = list((typed or {}).items()), b""
    while chunk := _read(ours):
        written += chunk
        if answers and answers[0][0].encode() in written:
            os.write(ours, answers.pop(0)[1].encode())
    os.close(ours)
    return process.wait(60), written.decode()


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # EIO: the last one who had it open has ended
        return b""
