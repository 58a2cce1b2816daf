"""The signals by which people and systems ask a command to end."""

from __future__ import annotations

import signal
import sys

_AGAIN = 0.001
"""Seconds until an interrupt that was lost comes again."""


def ending_signals() -> tuple[signal.Signals, ...]:
    """Ctrl-C, SIGTERM, and the SIGHUP of a terminal or a connection that is lost, unless it is ignored (nohup)."""
    hangup = () if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else (signal.SIGHUP,)
    return (signal.SIGINT, signal.SIGTERM, *hangup)


def interrupt_at_ending_signals() -> None:
    """From now on each of them raises KeyboardInterrupt, wherever the main thread is.

    Where that is in a finaliser, no exception can leave it: Python would tell of it on stderr and go on
    (sys.unraisablehook). The interrupt comes again then, a moment later.
    """
    for number in (*ending_signals(), signal.SIGALRM):
        signal.signal(number, signal.default_int_handler)
    sys.unraisablehook = _interrupt_again


def ignore_ending_signals() -> None:
    """From now on none of them does anything, nor does an interrupt that was to come again."""
    for number in (*ending_signals(), signal.SIGALRM):
        signal.signal(number, signal.SIG_IGN)


def _interrupt_again(lost: sys.UnraisableHookArgs) -> None:
    if issubclass(lost.exc_type, KeyboardInterrupt):
        signal.setitimer(signal.ITIMER_REAL, _AGAIN)
    else:
        sys.__unraisablehook__(lost)
