"""Lets real system calls of a forked process fail, or kills it at one: the n-th that changes something in a folder.

The kernel stops each of these calls and asks here what is to become of it (seccomp_unotify(2)), in all threads and
children of the process. So the C library, Python's own files and every module are met, as with `strace -e inject`,
but without a new interpreter for each try.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import errno
import fcntl
import os
import platform
import select
import signal
import socket
import struct
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeAlias

import pytest

_NUMBERS = {
    "x86_64": {
        "write": 1, "open": 2, "pwrite64": 18, "writev": 20, "sendfile": 40, "fsync": 74, "fdatasync": 75,
        "ftruncate": 77, "rename": 82, "mkdir": 83, "rmdir": 84, "link": 86, "unlink": 87, "symlink": 88, "chmod": 90,
        "fchmod": 91, "chown": 92, "fchown": 93, "lchown": 94, "setxattr": 188, "lsetxattr": 189, "fsetxattr": 190,
        "openat": 257, "mkdirat": 258, "mknodat": 259, "fchownat": 260, "unlinkat": 263, "renameat": 264,
        "linkat": 265, "symlinkat": 266, "fchmodat": 268, "utimensat": 280, "fallocate": 285, "renameat2": 316,
        "copy_file_range": 326, "openat2": 437,
    },
    "aarch64": {
        "fsetxattr": 7, "setxattr": 5, "lsetxattr": 6, "mknodat": 33, "mkdirat": 34, "unlinkat": 35, "symlinkat": 36,
        "linkat": 37, "renameat": 38, "ftruncate": 46, "fallocate": 47, "fchmod": 52, "fchmodat": 53, "fchownat": 54,
        "fchown": 55, "openat": 56, "write": 64, "writev": 66, "pwrite64": 68, "sendfile": 71, "fsync": 82,
        "fdatasync": 83, "utimensat": 88, "renameat2": 276, "copy_file_range": 285, "openat2": 437,
    },
}  # fmt: skip
"""Linux' numbers of the calls that open or change files: arch/x86/entry/syscalls/syscall_64.tbl, asm-generic."""
_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # linux/audit.h
_SECCOMP = {"x86_64": 317, "aarch64": 277}

_BY_DESCRIPTOR = {"write", "pwrite64", "writev", "fsync", "fdatasync", "ftruncate", "fchmod", "fchown", "fsetxattr",
                  "sendfile", "fallocate"}  # fmt: skip
_PATH_ONLY = {"open", "rename", "mkdir", "rmdir", "link", "unlink", "symlink", "chmod", "chown", "lchown", "setxattr",
              "lsetxattr"}  # fmt: skip
_SECOND_PATH = {"link", "symlink"}
"""What they make is named by the second word."""

_NEW_LISTENER, _USER_NOTIF, _ALLOW, _CONTINUE = 8, 0x7FC00000, 0x7FFF0000, 1
_RECEIVE, _SEND = 0xC0502100, 0xC0182101  # linux/seccomp.h: SECCOMP_IOCTL_NOTIF_RECV, SECCOMP_IOCTL_NOTIF_SEND
_NOTIFICATION = struct.Struct("=QII iIQ6Q")
_RESPONSE = struct.Struct("=QqiI")
_PATIENCE = 60.0

KILL = "kill"
Fault: TypeAlias = int | str | Callable[[], None]
"""An errno, `KILL`, or what is done here while the call waits."""


@dataclass(slots=True)
class Watched:
    """How a process ended (a negative code is a signal's number), and its calls: how many of each, which one failed."""

    code: int = 0
    calls: Counter[str] = field(default_factory=Counter)
    met: str = ""
    order: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Watch:
    """What is watched: the calls that concern something in `folder`, of Python's processes or of all `others`.

    `outlived`: what the child has started is waited for, too, where the child itself is killed.
    """

    folder: Path
    others: bool = False
    outlived: bool = False


def watched(work: Callable[[], object], watch: Watch, call: str = "", number: int = 0, fault: Fault = 0) -> Watched:
    """Does `work` in a child, which ends with what it returns (0 for None).

    The `number`-th `call` ("" for any) that is watched, from 0 on, fails with the errno `fault`, or the child and all
    its children are killed there, or something is done before it goes on. Of `others` all in the caller's session are
    killed, which Python is not.

    Skips the test where the kernel or the machine cannot do that.
    """
    machine = platform.machine()
    if machine not in _NUMBERS:
        pytest.skip(f"the numbers of system calls are not known for {machine}")
    here, there = socket.socketpair()
    child = os.fork()
    if child == 0:
        here.close()
        _become(lambda: _watched_work(work, there, machine))
    there.close()
    result = Watched()
    try:
        with here:
            listener = _received(here)
        if listener < 0:
            pytest.skip("the kernel does not hand out system calls (seccomp user notification)")
        try:
            _serve(listener, child, watch, machine, result, call, number, fault)
        finally:
            os.close(listener)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)
        result.code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return result


def unwatched(work: Callable[[], object]) -> int:
    """Does `work` in a child as `watched` does, without a look at its calls; how the child ended."""
    child = os.fork()
    if child == 0:
        _become(work)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child, signal.SIGKILL)
    return code


def _watched_work(work: Callable[[], object], there: socket.socket, machine: str) -> object:
    listener = _listen(machine)
    if listener < 0:
        there.sendall(b"n")
        os._exit(0)
    there.sendmsg([b"y"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [listener]))])
    os.close(listener)
    there.close()
    return work()


def _become(work: Callable[[], object]) -> NoReturn:
    code = 1
    try:
        os.setsid()
        answer = work()
        code = answer if isinstance(answer, int) else 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        os._exit(code)


def _listen(machine: str) -> int:
    """Installs the filter in this thread; the descriptor that tells of its calls, or -1."""
    numbers = sorted(_NUMBERS[machine].values())
    code = [
        (0x20, 0, 0, 4),
        (0x15, 0, len(numbers) + 1, _AUDIT[machine]),
        (0x20, 0, 0, 0),
    ]  # load arch, then the number
    code += [(0x15, len(numbers) - place, 0, number) for place, number in enumerate(numbers)]
    code += [(0x06, 0, 0, _ALLOW), (0x06, 0, 0, _USER_NOTIF)]
    program = b"".join(struct.pack("=HBBI", *each) for each in code)
    text = ctypes.create_string_buffer(program, len(program))
    head = ctypes.create_string_buffer(struct.pack("@HP", len(code), ctypes.addressof(text)))
    libc = ctypes.CDLL(None, use_errno=True)
    return int(libc.syscall(_SECCOMP[machine], 1, _NEW_LISTENER, head))


def _received(here: socket.socket) -> int:
    _, rights, _, _ = here.recvmsg(1, socket.CMSG_SPACE(4))
    return struct.unpack("i", rights[0][2])[0] if rights else -1


def _serve(
    listener: int, child: int, watch: Watch, machine: str, result: Watched, call: str, number: int, fault: Fault
) -> None:
    folder = os.fspath(watch.folder)
    names = {number: name for name, number in _NUMBERS[machine].items()}
    ended = os.pidfd_open(child)
    seen = 0
    try:
        poller = select.poll()
        poller.register(listener, select.POLLIN)
        poller.register(ended, select.POLLIN)
        while True:
            ready = dict(poller.poll(_PATIENCE * 1000))
            assert ready, "the process does not get on"
            if ready.get(listener) == select.POLLHUP:  # nobody is left whom it is asked for
                return
            if ended in ready:
                if not watch.outlived:
                    return
                poller.unregister(ended)
                if listener not in ready:
                    continue
            buffer = bytearray(_NOTIFICATION.size)
            try:
                fcntl.ioctl(listener, _RECEIVE, buffer)
            except OSError as error:
                if error.errno in (errno.ENOENT, errno.EINTR):  # a signal took it away
                    continue
                raise
            identifier, pid, _, system_call, _, _, *words = _NOTIFICATION.unpack(buffer)
            name = names[system_call]
            answer = _RESPONSE.pack(identifier, 0, 0, _CONTINUE)
            where = _place(name, pid, words)
            if where.startswith(folder) and _is_python(pid) != watch.others:
                result.calls[name] += 1
                result.order.append(f"{name} {where[len(folder) + 1 :]}")
                if not call or call == name:
                    if seen == number and fault:
                        result.met = result.order[-1]
                        if fault == KILL:
                            _kill(child, pid if watch.others else 0)
                            if not watch.outlived:
                                return
                        elif callable(fault):
                            fault()
                        else:
                            answer = _RESPONSE.pack(identifier, 0, -int(fault), 0)
                    seen += 1
            with contextlib.suppress(OSError):
                fcntl.ioctl(listener, _SEND, answer)
    finally:
        os.close(ended)


def _kill(child: int, other: int) -> None:
    if not other:
        os.killpg(child, signal.SIGKILL)
        return
    session = os.getsid(other)
    for path in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getsid(int(path.name)) == session and not _is_python(int(path.name)):
                os.kill(int(path.name), signal.SIGKILL)


def _is_python(pid: int) -> bool:
    """Whether it is a process of ours: an OCI runtime and the programs that it starts do as they like."""
    with contextlib.suppress(OSError):
        return _link(f"{pid}/exe") == _link("self/exe")
    return False


def _place(name: str, pid: int, words: list[int]) -> str:
    """The path that a call concerns; "" where it cannot be told."""
    try:
        if name in _BY_DESCRIPTOR:
            return _link(f"{pid}/fd/{_signed(words[0])}")
        if name == "copy_file_range":
            return _link(f"{pid}/fd/{_signed(words[2])}")
        if name in _PATH_ONLY:
            return _absolute(pid, -100, words[1 if name in _SECOND_PATH else 0])
        if name == "linkat":
            return _absolute(pid, _signed(words[2]), words[3])
        if name == "symlinkat":
            return _absolute(pid, _signed(words[1]), words[2])
        return _absolute(pid, _signed(words[0]), words[1])
    except OSError:
        return ""


def _link(name: str) -> str:
    return os.readlink(f"/proc/{name}")  # noqa: PTH115 - thousands of Paths are dear


def _signed(word: int) -> int:
    return ctypes.c_int(word & 0xFFFFFFFF).value


def _absolute(pid: int, folder: int, address: int) -> str:
    start = f"{pid}/cwd" if folder == -100 else f"{pid}/fd/{folder}"
    text = "" if address == 0 else _text(pid, address)
    return os.path.normpath(text if text.startswith("/") else f"{_link(start)}/{text}")


def _text(pid: int, address: int) -> str:
    with Path(f"/proc/{pid}/mem").open("rb", buffering=0) as memory:
        memory.seek(address)
        data = memory.read(min(4096, 4096 - address % 4096))
        if b"\0" not in data:
            data += memory.read(4096)
    return os.fsdecode(data.split(b"\0", 1)[0])


def spread(total: int, wanted: int) -> Iterator[int]:
    """At most `wanted` numbers below `total`, evenly."""
    yield from sorted({step * total // min(wanted, total) for step in range(min(wanted, total))}) if total else ()
