"""Asking this machine: the probe script, and the proofs that only a process of its own can give."""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Mapping
from dataclasses import replace

from polyarch_platforms import architecture, binfmt, direct_probe, knowledge
from polyarch_platforms.errors import FactsError
from polyarch_platforms.facts import Facts, parse_facts
from polyarch_platforms.tiny import expected_output, tiny_program

# The script takes some 10 ms; under QEMU on a slow machine it may take seconds.
_TIMEOUT = 30
_PROOF_TIMEOUT = 5
# Linux, include/uapi/linux/personality.h.
_PER_LINUX32 = 0x0008


def probe_script() -> str:
    """The probe: a POSIX sh script that asks a machine for its facts. `parse_facts` reads what it prints."""
    return knowledge.text("probe.sh")


def local_facts(environ: Mapping[str, str] | None = None) -> Facts:
    """The facts of this machine: what the probe says, and where it could not tell, whether 32-bit programs run.

    With the process's `environ` no program is started where this one can see all by itself. Raises FactsError if there
    is no shell where one is needed, or its answer cannot be used.
    """
    answer = direct_probe.answer(environ) if environ else None
    if answer is not None:
        facts = _tried(parse_facts(answer))
        if facts.machine != "x86_64" or (facts.ran_386 is not None and not _emulates_386(facts)):
            return facts
    return _tried(parse_facts(_asked()))


def _asked() -> str:
    """The script's answer. Raises FactsError."""
    import subprocess

    try:
        done = subprocess.run(
            ["/bin/sh", "-c", probe_script()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            timeout=_TIMEOUT,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise FactsError(
            f"the probe could not run on this machine: {error}", "polyarch needs a POSIX /bin/sh"
        ) from error
    return done.stdout.decode("utf-8", "replace")


def _emulates_386(facts: Facts) -> bool:
    """Whether a 386 program that ran may be no proof, so that the kernel's configuration has to be known."""
    known = architecture.load()["386"]
    read = (binfmt.parse_entry(name, "\n".join(lines)) for name, lines in facts.binfmt)
    return binfmt.matching([entry for entry in read if entry], known) is not None


def _tried(facts: Facts) -> Facts:
    if facts.emulator:
        return facts
    if facts.machine == "aarch64" and facts.linux32 is None:
        return replace(facts, linux32=_takes_linux32())
    if facts.machine == "x86_64" and facts.ran_386 is None:
        return replace(facts, ran_386=_runs("386"))
    return facts


def _runs(name: str) -> bool | None:
    """Whether the kernel starts a tiny program of architecture `name`, from memory; None if that cannot be tried."""
    known = architecture.load()[name]
    try:
        program = os.memfd_create("polyarch-proof", 0)
    except OSError:
        return None
    try:
        os.write(program, tiny_program(known))
        return _said(f"/proc/self/fd/{program}", 2 * len(expected_output(known))) == expected_output(known)
    except PermissionError:
        return None
    except OSError:
        return False
    finally:
        os.close(program)


def _said(path: str, most: int) -> bytes:
    """What a program without input writes to its output; one that is silent for long is ended. Raises OSError."""
    output, theirs = os.pipe()
    try:
        try:
            streams = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_RDWR, 0) for number in (0, 2)]
            pid = os.posix_spawn(path, [path], {}, file_actions=[*streams, (os.POSIX_SPAWN_DUP2, theirs, 1)])
        finally:
            os.close(theirs)
        said = b""
        try:
            while len(said) < most and select.select([output], [], [], _PROOF_TIMEOUT)[0]:
                data = os.read(output, most)
                if not data:
                    break
                said += data
        finally:
            os.kill(pid, signal.SIGKILL)  # it has ended, or hangs
            os.waitpid(pid, 0)
        return said
    finally:
        os.close(output)


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
