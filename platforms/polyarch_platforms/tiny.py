"""Tiny programs for each architecture: proof that this machine, or an emulator, runs its code.

Each is a static ELF file of under 300 bytes, made of a few system calls in a row: no compiler and no foreign userland
is needed. What they read of the stack is what the kernel put there: the number of arguments, then argv.

Source: System V gABI (headers); the ABI supplements, "Process Initialization" (the stack).
"""

from __future__ import annotations

import struct

from polyarch_platforms.architecture import Architecture
from polyarch_platforms.platform import Platform
from polyarch_platforms.tiny_machines import MACHINES, Address, Number, Result, StackAddress, Stacked

# A multiple of the largest page size in use (64K), so that every kernel can map the file there.
_BASE = 0x400000
_ALIGN = 0x10000
_ET_EXEC, _PT_LOAD, _PT_GNU_STACK, _R, _W, _X = 2, 1, 0x6474E551, 4, 2, 1

SHOWN = 8
"""How many bytes of its argv[0] the reporting program writes."""


def expected_output(architecture: Architecture) -> bytes:
    """What the architecture's tiny program writes: `linux/arm64` and a newline."""
    return f"{Platform('linux', architecture.name)}\n".encode("ascii")


def tiny_program(architecture: Architecture) -> bytes:
    """Writes its platform's name and a newline to standard output and ends with 0.

    Every architecture in `data/architectures` has one.
    """
    machine, word = MACHINES[architecture.name], architecture.elf_class // 8
    text = expected_output(architecture)
    code = machine.call("write", word, Number(1), Address(_BASE + _headers_size(architecture)), Number(len(text)))
    return _elf(architecture, text, code + machine.call("exit", word, Number(0)))


def reporting_program(architecture: Architecture) -> bytes:
    """Writes the first SHOWN bytes of its argv[0], then becomes the program that argv[1] names, with the arguments from
    there on and no environment; where that cannot be (no argv[1], no such program) it ends with its effective user
    ID, of which the low 8 bits are seen.
    """
    machine, word = MACHINES[architecture.name], architecture.elf_class // 8
    code = machine.call("write", word, Number(1), Stacked(1), Number(SHOWN))
    code += machine.call("execve", word, Stacked(2), StackAddress(2), Number(0))
    code += machine.call("geteuid", word)
    return _elf(architecture, b"", code + machine.call("exit", word, Result()))


def _headers_size(architecture: Architecture) -> int:
    return 64 + 2 * 56 if architecture.elf_class == 64 else 52 + 2 * 32


def _elf(architecture: Architecture, text: bytes, code: bytes) -> bytes:
    """A program in one segment: the headers, the text, the code (aligned to 4 bytes)."""
    wide = architecture.elf_class == 64
    order = "<" if architecture.elf_data == "little" else ">"
    header_size, entry_size = (64, 56) if wide else (52, 32)
    text += bytes(-len(text) % 4)
    start = _headers_size(architecture) + len(text)
    size = start + len(code)

    ident = b"\x7fELF" + bytes((2 if wide else 1, 1 if order == "<" else 2, 1)) + bytes(9)
    header = struct.pack(
        order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
        *(_ET_EXEC, architecture.elf_machine, 1, _BASE + start, header_size, 0, MACHINES[architecture.name].e_flags),
        *(header_size, entry_size, 2, 0, 0, 0),
    )
    if wide:  # type, flags, offset, virtual and physical address, size in the file and in memory, alignment
        load = struct.pack(order + "IIQQQQQQ", _PT_LOAD, _R | _X, 0, _BASE, _BASE, size, size, _ALIGN)
        stack = struct.pack(order + "IIQQQQQQ", _PT_GNU_STACK, _R | _W, 0, 0, 0, 0, 0, 16)
    else:  # the same, but the flags stand before the alignment
        load = struct.pack(order + "IIIIIIII", _PT_LOAD, 0, _BASE, _BASE, size, size, _R | _X, _ALIGN)
        stack = struct.pack(order + "IIIIIIII", _PT_GNU_STACK, 0, 0, 0, 0, 0, _R | _W, 16)
    return ident + header + load + stack + text + code
