"""How many instructions this process's children have executed, where the processor and the kernel's settings tell it.

They vary far less than seconds, which other work on the machine makes longer.
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from functools import cache

HARDWARE_INSTRUCTIONS = (0, 1)
SOFTWARE_TASK_CLOCK = (1, 1)
"""Type and number of an event (perf_event_open(2)). The second counts nanoseconds of CPU, on any machine."""
# perf_event_open(2): disabled is bit 0 of the flags, inherit bit 1, exclude_kernel bit 5, exclude_hv bit 6.
_INHERIT_USER_ONLY = 1 << 1 | 1 << 5 | 1 << 6
_SIZE = 64  # PERF_ATTR_SIZE_VER0
_CALL = {"x86_64": 298, "aarch64": 241, "riscv64": 241}
"""The call's number: no C library has a function for it."""


def opened(event: tuple[int, int]) -> int | None:
    """A descriptor that counts an event in this process and in later children that have ended; None: refused."""
    number = _CALL.get(platform.machine())
    if number is None:
        return None
    kind, config = event
    head = struct.pack("=IIQQQQQ", kind, _SIZE, config, 0, 0, 0, _INHERIT_USER_ONLY)
    attributes = ctypes.create_string_buffer(head.ljust(_SIZE, b"\0"), _SIZE)
    found = ctypes.CDLL(None, use_errno=True).syscall(number, attributes, 0, -1, -1, ctypes.c_ulong(8))  # close on exec
    return found if found >= 0 else None


def counted(descriptor: int) -> int:
    """The count so far."""
    return int.from_bytes(os.read(descriptor, 8), "little")


@cache
def _of_instructions() -> int | None:
    return opened(HARDWARE_INSTRUCTIONS)


def instructions() -> int | None:
    """Instructions of this process and its children so far; None where they are not counted."""
    descriptor = _of_instructions()
    return None if descriptor is None else counted(descriptor)
