"""A program that asks the kernel for what containers must not have, and tells its answers; for two architectures.

It is machine code written here: no compiler is needed, and no C library stands between it and the kernel. No call does
anything where it is allowed: each has words that the kernel refuses for other reasons, behind every check of rights.
"""

from __future__ import annotations

import errno
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

_BASE, _DATA = 0x400000, 0x600000
_DATA_SIZE = 0x4000
_RESULTS = _DATA + 0x2000
_NOWHERE = 0
_BAD_FILE = (1 << 64) - 1
_WRITE, _EXIT = {"amd64": 1, "arm64": 64}, {"amd64": 60, "arm64": 93}

Argument = int | bytes

# name -> number on amd64, number on arm64 (None: it has none), arguments.
CALLS: dict[str, tuple[int, int | None, tuple[Argument, ...]]] = {
    "mount": (165, 40, (b"none", b"/no-such-place", b"tmpfs", 0, _NOWHERE)),
    "umount2": (166, 39, (b"/no-such-place", 0)),
    "pivot_root": (155, 41, (b"/no-such-place", b"/no-such-place")),
    "open_tree": (428, 428, (_BAD_FILE, b"no-such-place", 1)),
    "move_mount": (429, 429, (_BAD_FILE, b"x", _BAD_FILE, b"x", 0)),
    "fsopen": (430, 430, (b"no-such-kind", 0)),
    "fsconfig": (431, 431, (_BAD_FILE, 6, 0, 0, 0)),
    "fsmount": (432, 432, (_BAD_FILE, 0, 0)),
    "fspick": (433, 433, (_BAD_FILE, b"no-such-place", 0)),
    "mount_setattr": (442, 442, (_BAD_FILE, b"x", 0, 0, 0)),
    "setns": (308, 268, (_BAD_FILE, 0)),
    "clone a user namespace": (56, None, (0x10000000 | 0x00010000, 0, 0, 0, 0)),  # a thread: EINVAL; QEMU refuses it
    "clone3": (435, 435, (_NOWHERE, 0)),
    "keyctl": (250, 219, (0, (1 << 32) - 3, 0)),
    "add_key": (248, 217, (_NOWHERE, _NOWHERE, 0, 0, 0)),
    "request_key": (249, 218, (_NOWHERE, _NOWHERE, 0, 0)),
    "bpf": (321, 280, (0, _NOWHERE, 0)),
    "perf_event_open": (298, 241, (_NOWHERE, 0, 0, 0, 0)),
    "userfaultfd": (323, 282, (0xFFFF,)),
    "io_uring_setup": (425, 425, (0, _NOWHERE)),
    "init_module": (175, 105, (_NOWHERE, 0, _NOWHERE)),
    "finit_module": (313, 273, (_BAD_FILE, _NOWHERE, 0)),
    "delete_module": (176, 106, (_NOWHERE, 0)),
    "kexec_load": (246, 104, (0, 17, _NOWHERE, 0)),
    "kexec_file_load": (320, 294, (_BAD_FILE, _BAD_FILE, 0, _NOWHERE, 0)),
    "reboot": (169, 142, (0, 0, 0, 0)),
    "swapon": (167, 224, (b"/no-such-place", 0)),
    "swapoff": (168, 225, (b"/no-such-place",)),
    "settimeofday": (164, None, (_NOWHERE, _NOWHERE)),  # which ends QEMU 7
    "clock_settime": (227, 112, (99, bytes(16))),
    "acct": (163, 89, (b"/no-such-place",)),
    "quotactl": (179, 60, (0x800001, _NOWHERE, 0, _NOWHERE)),
    "syslog": (103, 116, (10, _NOWHERE, 0)),
    "sethostname": (170, 161, (b"probe", 5)),
    "vhangup": (153, 58, ()),
    "iopl": (172, None, (3,)),
    "ioperm": (173, None, (0, 1, 1)),
    "open_by_handle_at": (304, 265, (_BAD_FILE, bytes(16), 0)),
    "fanotify_init": (300, 262, (0x7FFFFFFF, 0)),
    "pidfd_getfd": (438, 438, (_BAD_FILE, 0, 0)),
    "set_mempolicy": (238, 237, (99, _NOWHERE, 0)),
    "mbind": (237, 235, (0, 0, 99, _NOWHERE, 0, 0)),
    "move_pages": (279, 239, (0, 0, _NOWHERE, _NOWHERE, _NOWHERE, 0)),
    "personality without random addresses": (135, 92, (0x0040000,)),
    "socket of the kernel's ciphers": (41, 198, (38, 5, 0)),
    "socket of the hypervisor": (41, 198, (40, 1, 0)),
    "mknod of a disk": (133, None, (b"/dev/probe-disk", 0o60600, 0x801)),
    "open of a disk": (2, None, (b"/dev/probe-disk", 0)),
    "unshare a user namespace": (272, 97, (0x10000000,)),
}
LEFT = {"ptrace": (101, 117, (2, 0, 0, 0)), "chroot": (161, 51, (_NOWHERE,)), "seccomp": (317, 277, (99, 0, 0))}
"""Calls that docker lets pass: what answers them is the kernel itself."""

SCRIPT = "/probe | od -An -v -tx1"
"""For busybox's sh: the program at /probe, its answers as text."""

REFUSALS = (errno.EPERM, errno.ENOSYS)


def calls(architecture: str) -> list[str]:
    """The names of those that the architecture has, in the order of their answers."""
    return [name for name, call in {**LEFT, **CALLS}.items() if call[architecture == "arm64"] is not None]


def write_probe(path: Path, architecture: str) -> None:
    """The program. It writes one number of 8 bytes for each call to its standard output; `SCRIPT` runs it."""
    table = {**LEFT, **CALLS}
    data = bytearray(_DATA_SIZE)
    place = _DATA
    code = b""
    names = calls(architecture)
    make = _amd64 if architecture == "amd64" else _arm64
    for position, name in enumerate(names):
        number = table[name][architecture == "arm64"]
        assert number is not None
        words: list[int] = []
        for argument in table[name][2]:
            if isinstance(argument, bytes):
                data[place - _DATA : place - _DATA + len(argument) + 1] = argument + b"\0"
                words.append(place)
                place += len(argument) + 1
            else:
                words.append(argument)
        assert place < _RESULTS
        code += make(number, words, _RESULTS + 8 * position)
    code += make(_WRITE[architecture], (1, _RESULTS, 8 * len(names)), None) + make(_EXIT[architecture], (0,), None)
    path.write_bytes(_elf(62 if architecture == "amd64" else 183, code, bytes(data)))
    path.chmod(0o755)


def answers(architecture: str, output: str) -> dict[str, str]:
    """What each call was answered, of what `SCRIPT` prints: the error's name, "0" or the number."""
    names = calls(architecture)
    data = bytes.fromhex(output)
    assert len(data) == 8 * len(names), output
    numbers = struct.unpack(f"<{len(names)}q", data)
    return {name: errno.errorcode.get(-each, str(each)) for name, each in zip(names, numbers, strict=True)}


def refused(told: dict[str, str]) -> set[str]:
    """The calls that were answered as what nobody may do here, or what there is not; no node, no disk is opened."""
    names = [*map(errno.errorcode.get, REFUSALS)]
    without = {"open of a disk"} if told.get("open of a disk") == "ENOENT" else set()
    return {name for name, each in told.items() if each in names} | without


def _amd64(number: int, words: Sequence[int], result: int | None) -> bytes:
    # mov r64, imm64: rax, then rdi, rsi, rdx, r10, r8, r9; syscall; mov [address], rax
    moves = (b"\x48\xbf", b"\x48\xbe", b"\x48\xba", b"\x49\xba", b"\x49\xb8", b"\x49\xb9")
    code = b"\x48\xb8" + struct.pack("<Q", number)
    for move, word in zip(moves, [*words, 0, 0, 0, 0, 0, 0], strict=False):
        code += move + struct.pack("<Q", word)
    return code + b"\x0f\x05" + (b"" if result is None else b"\x48\xa3" + struct.pack("<Q", result))


def _arm64(number: int, words: Sequence[int], result: int | None) -> bytes:
    code = b"".join(_set(register, word) for register, word in enumerate([*words, 0, 0, 0, 0, 0, 0][:6]))
    code += _set(8, number) + struct.pack("<I", 0xD4000001)  # svc #0
    return code + (b"" if result is None else _set(9, result) + struct.pack("<I", 0xF9000120))  # str x0, [x9]


def _set(register: int, value: int) -> bytes:
    """movz, then movk for the other quarters."""

    def quarters() -> Iterator[bytes]:
        for part in range(4):
            bits = value >> 16 * part & 0xFFFF
            yield struct.pack("<I", (0xF2800000 if part else 0xD2800000) | part << 21 | bits << 5 | register)

    return b"".join(quarters())


def _elf(machine: int, code: bytes, data: bytes) -> bytes:
    """An executable of two segments."""
    start = 0x1000
    after = start + (len(code) + 0xFFF & ~0xFFF)
    header = b"\x7fELF\x02\x01\x01" + bytes(9)
    header += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, _BASE + start, 64, 0, 0, 64, 56, 2, 0, 0, 0)
    header += struct.pack("<IIQQQQQQ", 1, 5, start, _BASE + start, _BASE + start, len(code), len(code), 0x1000)
    header += struct.pack("<IIQQQQQQ", 1, 6, after, _DATA, _DATA, len(data), len(data), 0x1000)
    return (header.ljust(start, b"\0") + code).ljust(after, b"\0") + data


FILES = {
    **{
        name: f"head -c1 {name} | wc -c"
        for name in ("/proc/kcore", "/proc/timer_list", "/proc/keys", "/proc/sched_debug")
    },
    **{name: f"head -c1 {name} | wc -c" for name in ("/proc/latency_stats", "/proc/interrupts")},
    **{name: f"ls -A {name} | wc -l" for name in ("/proc/acpi", "/proc/scsi", "/sys/firmware")},
    **{
        f"writes-{name}": f"(: >> {name}) && echo 1 || echo 0"
        for name in (
            *(
                "/proc/sys/kernel/hostname",
                "/proc/sys/vm/drop_caches",
                "/proc/sysrq-trigger",
                "/proc/irq/default_smp_affinity",
            ),
            *("/sys/kernel/uevent_helper", "/sys/power/state", "/sys/module/kernel/parameters/panic"),
        )
    },
    "makes-a-control-group": (
        "cd /sys/fs/cgroup && { test -e cgroup.procs || cd memory; } && mkdir probe && echo 1 || echo 0"
    ),
}
"""What a container may not read or write, and how busybox's sh tells: 0 is no."""

STATUS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp")
DEVICES = [
    *("fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm"),
    *("stderr", "stdin", "stdout", "tty", "urandom", "zero"),
]
"""docker's list (moby, oci/defaults.go); `console` with a terminal, and crun's `core`, a link to what is hidden."""

LOOK = "\n".join(
    (
        "exec 2>/dev/null",
        "grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status | tr -d '\\t'",
        "echo devices: $(ls /dev)",
        *(f"echo {name}: $( {command} )" for name, command in FILES.items()),
    )
)
"""For busybox's sh: a line for each of STATUS, the devices, and FILES."""


def seen(output: str) -> dict[str, str]:
    """What LOOK prints."""
    pairs = (line.partition(":")[::2] for line in output.splitlines())
    return {name: value.strip() for name, value in pairs}
