"""A first process of a PID namespace that only waits, where the runtime must not be the first one."""

from __future__ import annotations

import contextlib
import os
import signal

from polyarch.container.launch import FORWARDED, SI_KERNEL

_HEARD = FORWARDED | {signal.SIGCHLD}


def leave_reaper() -> None:
    """Return in a child. This process stays as long as that runs, passes signals on to it and ends with its exit code.

    crun ends when it has no child left (src/libcrun/container.c, wait_for_process), and a daemon becomes a child of the
    first process: that would wait for each other for ever. Nothing happens in any other process than a first one.
    """
    if os.getpid() != 1:
        return
    signal.pthread_sigmask(signal.SIG_BLOCK, _HEARD)  # the child gets its own mask when it starts the program
    child = os.fork()
    if child == 0:
        return
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))  # nobody shall wait for this process to close a file
    while True:
        heard = signal.sigwaitinfo(_HEARD)
        if heard.si_signo != signal.SIGCHLD:
            if heard.si_code != SI_KERNEL:  # which the terminal gave to both
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, heard.si_signo)
            continue
        with contextlib.suppress(ChildProcessError):
            while (ended := os.waitpid(-1, os.WNOHANG))[0]:
                if ended[0] == child:
                    code = os.waitstatus_to_exitcode(ended[1])
                    os._exit(code if code >= 0 else 128 - code)
