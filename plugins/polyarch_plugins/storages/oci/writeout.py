"""Asks the kernel to begin writing to the disk, so that the sync before a name is written has little left to wait for.

Left to itself Linux begins after 30 seconds (vm.dirty_expire_centisecs): a whole image would be waited for at the end.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache

_SYNC_FILE_RANGE_WRITE = 2
"""Begin, and do not wait: sync_file_range(2)."""


@cache
def _sync_file_range() -> Callable[[int, int, int, int], int] | None:
    """The C library's function; None where it has none (it is Linux's alone)."""
    function = getattr(ctypes.CDLL(None), "sync_file_range", None)
    if function is not None:
        function.argtypes = (ctypes.c_int, ctypes.c_int64, ctypes.c_int64, ctypes.c_uint)
        function.restype = ctypes.c_int
    return function


def begin_writeout(descriptor: int, start: int, end: int) -> None:
    """Begin to write the bytes from `start` to before `end` of an open file. It is a hint: no fault of it matters."""
    function = _sync_file_range()
    if function is not None:
        function(descriptor, start, end - start, _SYNC_FILE_RANGE_WRITE)
