"""Asking this machine: the probe script, and the proofs that only a process of its own can give."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

from polyarch_platforms import architecture, knowledge
from polyarch_platforms.errors import FactsError
from polyarch_platforms.facts import Facts, parse_facts
from polyarch_platforms.tiny import expected_output, tiny_program

# The script takes some 10 ms; under QEMU on a slow machine it may take seconds.
_TIMEOUT = 30
# Linux, include/uapi/linux/personality.h.
_PER_LINUX32 = 0x0008


def probe_script() -> str:
    """The probe: a POSIX sh script that asks a machine for its facts. `parse_facts` reads what it prints."""
    return knowledge.text("probe.sh")


def ask() -> subprocess.Popen[bytes]:
    """Start the probe, for `local_facts` to wait for. Raises FactsError if there is no shell."""
    try:
        return subprocess.Popen(
            ["/bin/sh", "-c", probe_script()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
    except OSError as error:
        raise _unasked(error) from error


def local_facts(asked: subprocess.Popen[bytes] | None = None) -> Facts:
    """The facts of this machine: what the probe says, and where it could not tell, whether 32-bit programs run.

    `asked` is the probe where it was started before. Raises FactsError if there is no shell, or its answer cannot be
    used.
    """
    with asked or ask() as probe:
        try:
            answer, _ = probe.communicate(timeout=_TIMEOUT)
        except subprocess.TimeoutExpired as error:
            probe.kill()
            raise _unasked(error) from error
    facts = parse_facts(answer.decode("utf-8", "replace"))
    if facts.emulator:
        return facts
    if facts.machine == "aarch64" and facts.linux32 is None:
        return replace(facts, linux32=_takes_linux32())
    if facts.machine == "x86_64" and facts.ran_386 is None:
        return replace(facts, ran_386=_runs("386"))
    return facts


def _unasked(error: Exception) -> FactsError:
    return FactsError(f"the probe could not run on this machine: {error}", "polyarch needs a POSIX /bin/sh")


def _runs(name: str) -> bool | None:
    """Whether the kernel starts a tiny program of architecture `name`, from memory; None if that cannot be tried."""
    known = architecture.load()[name]
    try:
        program = os.memfd_create("polyarch-proof", 0)
    except OSError:
        return None
    try:
        os.write(program, tiny_program(known))
        done = subprocess.run(
            [f"/proc/self/fd/{program}"], pass_fds=(program,), stdin=subprocess.DEVNULL, capture_output=True, timeout=5
        )
    except PermissionError:
        return None
    except (OSError, subprocess.TimeoutExpired):
        return False
    finally:
        os.close(program)
    return done.stdout == expected_output(known)


def _takes_linux32() -> bool | None:
    """Whether the kernel takes the personality PER_LINUX32 and names another machine under it: 32-bit programs run.

    A kernel without CONFIG_COMPAT takes it, too, where the CPU has AArch32, but says aarch64 all the same. Asked in a
    thread of its own: a personality belongs to a thread, and this one ends with it.
    """
    from ctypes import CDLL, c_int, c_ulong, get_errno
    from errno import EINVAL
    from threading import Thread

    answer: list[bool | None] = [None]
    machine = os.uname().machine

    def ask() -> None:
        personality = CDLL(None, use_errno=True).personality
        personality.argtypes, personality.restype = [c_ulong], c_int
        if personality(_PER_LINUX32) != -1:
            answer[0] = os.uname().machine != machine
        elif get_errno() == EINVAL:
            answer[0] = False

    thread = Thread(target=ask)
    thread.start()
    thread.join()
    return answer[0]
