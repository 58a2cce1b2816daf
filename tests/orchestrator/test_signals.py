"""What asks a command to end is heard, wherever the command is."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_HELD = """
import os, signal, sys
from polyarch.signals import interrupt_at_ending_signals

class Held:
    def __del__(self):
        os.kill(os.getpid(), int(sys.argv[1]))

interrupt_at_ending_signals()
try:
    Held()
    signal.pause()
except KeyboardInterrupt:
    print("interrupted")
"""
_FAULT = """
from polyarch.signals import interrupt_at_ending_signals

class Held:
    def __del__(self):
        raise ValueError("another fault")

interrupt_at_ending_signals()
Held()
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_an_interrupt_that_meets_a_finaliser_comes_again(number: signal.Signals) -> None:
    ran = subprocess.run([sys.executable, "-c", _HELD, str(int(number))], capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "interrupted\n", "")


def test_other_faults_of_finalisers_are_told() -> None:
    ran = subprocess.run([sys.executable, "-c", _FAULT], capture_output=True, text=True, timeout=60)
    assert "ValueError: another fault" in ran.stderr
