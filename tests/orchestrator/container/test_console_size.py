"""The size of a container's terminal beside what is typed."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import struct
import termios
import tty
from pathlib import Path
from threading import Thread

import pytest

from polyarch.container import console
from polyarch.container.console import Console

SIZE = struct.pack("4H", 33, 77, 0, 0)


def test_a_new_size_is_there_before_what_is_typed_after_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user, ours = pty.openpty()
    terminal, inside = pty.openpty()
    for each in (ours, inside):
        tty.setraw(each)
    monkeypatch.setattr(console, "_OUR_INPUT", ours)
    monkeypatch.setattr(console, "_OUR_OUTPUT", ours)
    made = Console(tmp_path, interactive=True)
    made._terminal = terminal

    def join() -> None:
        with contextlib.suppress(OSError):
            made._join(terminal)

    made._thread = Thread(target=join, daemon=True)
    made.start()
    try:
        fcntl.ioctl(user, termios.TIOCSWINSZ, SIZE)  # no signal comes: this terminal is nobody's
        os.write(user, b"x")
        assert os.read(inside, 1) == b"x"
        assert fcntl.ioctl(inside, termios.TIOCGWINSZ, bytes(8)) == SIZE
    finally:
        os.close(inside)
        made.close()
        os.close(user)
        os.close(ours)
