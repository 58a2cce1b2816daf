"""A tiny program for each architecture: proof that this machine, or an emulator, runs its code.

Each is a static ELF file of under 300 bytes that writes its platform's name and a newline to standard output and ends
with 0, in two system calls: write(1, text, length) and exit(0). The text stands right behind the machine code.

Sources: System V gABI (headers); Linux, the system call tables (arch/*/…/syscall*.tbl, for the newer architectures
include/uapi/asm-generic/unistd.h) and syscall(2), "Architecture calling conventions" (which registers); the
encodings from each architecture's manual: Intel SDM volume 2, Arm ARM (DDI 0406, DDI 0487), RISC-V ISA volume 1,
Power ISA book I, z/Architecture Principles of Operation, MIPS64 volume II-A, LoongArch reference manual volume 1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from polyarch_platforms.architecture import Architecture
from polyarch_platforms.platform import Platform

# A multiple of the largest page size in use (64K), so that every kernel can map the file there.
_BASE = 0x400000
_ALIGN = 0x10000
_ET_EXEC, _PT_LOAD, _PT_GNU_STACK, _R, _W, _X = 2, 1, 0x6474E551, 4, 2, 1


def expected_output(architecture: Architecture) -> bytes:
    """What the architecture's tiny program writes: `linux/arm64` and a newline."""
    return f"{Platform('linux', architecture.name)}\n".encode("ascii")


def tiny_program(architecture: Architecture) -> bytes:
    """The ELF file of the architecture's tiny program. Every architecture in `data/architectures` has one."""
    text = expected_output(architecture)
    wide = architecture.elf_class == 64
    order = "<" if architecture.elf_data == "little" else ">"
    header_size, entry_size = (64, 56) if wide else (52, 32)
    start = header_size + 2 * entry_size
    make, flags = _CODE[architecture.name]
    length = len(make(0, len(text)))
    code = make(_BASE + start + length, len(text))
    size = start + length + len(text)

    ident = b"\x7fELF" + bytes((2 if wide else 1, 1 if order == "<" else 2, 1)) + bytes(9)
    header = struct.pack(
        order + ("HHIQQQIHHHHHH" if wide else "HHIIIIIHHHHHH"),
        *(_ET_EXEC, architecture.elf_machine, 1, _BASE + start, header_size, 0, flags),
        *(header_size, entry_size, 2, 0, 0, 0),
    )
    if wide:  # type, flags, offset, virtual and physical address, size in the file and in memory, alignment
        load = struct.pack(order + "IIQQQQQQ", _PT_LOAD, _R | _X, 0, _BASE, _BASE, size, size, _ALIGN)
        stack = struct.pack(order + "IIQQQQQQ", _PT_GNU_STACK, _R | _W, 0, 0, 0, 0, 0, 16)
    else:  # the same, but the flags stand before the alignment
        load = struct.pack(order + "IIIIIIII", _PT_LOAD, 0, _BASE, _BASE, size, size, _R | _X, _ALIGN)
        stack = struct.pack(order + "IIIIIIII", _PT_GNU_STACK, 0, 0, 0, 0, 0, _R | _W, 16)
    return ident + header + load + stack + code + text


def _words(order: str, *words: int) -> bytes:
    return struct.pack(f"{order}{len(words)}I", *words)


def _amd64(text: int, length: int) -> bytes:
    return (
        b"\xb8\x01\x00\x00\x00"  # mov eax, 1            write
        + b"\xbf\x01\x00\x00\x00"  # mov edi, 1
        + b"\xbe"
        + struct.pack("<I", text)  # mov esi, text
        + b"\xba"
        + struct.pack("<I", length)  # mov edx, length
        + b"\x0f\x05"  # syscall
        + b"\xb8\x3c\x00\x00\x00"  # mov eax, 60           exit
        + b"\x31\xff"  # xor edi, edi
        + b"\x0f\x05"  # syscall
    )


def _386(text: int, length: int) -> bytes:
    return (
        b"\xb8\x04\x00\x00\x00"  # mov eax, 4            write
        + b"\xbb\x01\x00\x00\x00"  # mov ebx, 1
        + b"\xb9"
        + struct.pack("<I", text)  # mov ecx, text
        + b"\xba"
        + struct.pack("<I", length)  # mov edx, length
        + b"\xcd\x80"  # int 0x80
        + b"\xb8\x01\x00\x00\x00"  # mov eax, 1            exit
        + b"\x31\xdb"  # xor ebx, ebx
        + b"\xcd\x80"  # int 0x80
    )


def _arm(text: int, length: int) -> bytes:
    del text  # the address is taken from pc
    return _words(
        "<",
        0xE3A00001,  # mov r0, #1
        0xE28F1014,  # add r1, pc, #20       pc is 8 ahead: the text, 28 bytes behind this one
        0xE3A02000 | length,  # mov r2, #length
        0xE3A07004,  # mov r7, #4            write
        0xEF000000,  # svc 0
        0xE3A00000,  # mov r0, #0
        0xE3A07001,  # mov r7, #1            exit
        0xEF000000,  # svc 0
    )


def _arm64(text: int, length: int) -> bytes:
    del text  # the address is taken from pc
    return _words(
        "<",
        0xD2800020,  # mov x0, #1
        0x10000001 | 28 >> 2 << 5,  # adr x1, 28            the text, 28 bytes behind this one
        0xD2800002 | length << 5,  # mov x2, #length
        0xD2800008 | 64 << 5,  # mov x8, #64           write
        0xD4000001,  # svc 0
        0xD2800000,  # mov x0, #0
        0xD2800008 | 93 << 5,  # mov x8, #93           exit
        0xD4000001,  # svc 0
    )


def _riscv64(text: int, length: int) -> bytes:
    del text  # the address is taken from pc
    return _words(
        "<",
        0x00100513,  # li a0, 1
        0x00000597,  # auipc a1, 0
        0x00058593 | 32 << 20,  # addi a1, a1, 32       the text, 32 bytes behind the auipc
        0x00000613 | length << 20,  # li a2, length
        0x00000893 | 64 << 20,  # li a7, 64             write
        0x00000073,  # ecall
        0x00000513,  # li a0, 0
        0x00000893 | 93 << 20,  # li a7, 93             exit
        0x00000073,  # ecall
    )


def _ppc64le(text: int, length: int) -> bytes:
    return _words(
        "<",
        0x38000004,  # li r0, 4              write
        0x38600001,  # li r3, 1
        0x3C800000 | text >> 16,  # lis r4, text@high
        0x60840000 | text & 0xFFFF,  # ori r4, r4, text@low
        0x38A00000 | length,  # li r5, length
        0x44000002,  # sc
        0x38000001,  # li r0, 1              exit
        0x38600000,  # li r3, 0
        0x44000002,  # sc
    )


def _s390x(text: int, length: int) -> bytes:
    del text  # the address is taken from the instruction's own
    return (
        b"\xa7\x29\x00\x01"  # lghi %r2, 1
        + b"\xc0\x30\x00\x00\x00\x09"  # larl %r3, 18          the text, 9 halfwords behind this one
        + b"\xa7\x49"
        + struct.pack(">H", length)  # lghi %r4, length
        + b"\x0a\x04"  # svc 4                 write
        + b"\xa7\x29\x00\x00"  # lghi %r2, 0
        + b"\x0a\x01"  # svc 1                 exit
    )


def _mips64le(text: int, length: int) -> bytes:
    return _words(
        "<",
        0x24020000 | 5001,  # li $v0, 5001          write (n64)
        0x24040001,  # li $a0, 1
        0x3C050000 | text >> 16,  # lui $a1, text@high
        0x34A50000 | text & 0xFFFF,  # ori $a1, $a1, text@low
        0x24060000 | length,  # li $a2, length
        0x0000000C,  # syscall
        0x24020000 | 5058,  # li $v0, 5058          exit (n64)
        0x24040000,  # li $a0, 0
        0x0000000C,  # syscall
    )


def _loong64(text: int, length: int) -> bytes:
    del text  # the address is taken from pc
    return _words(
        "<",
        0x02800404,  # addi.w $a0, $zero, 1
        0x18000005 | 28 >> 2 << 5,  # pcaddi $a1, 7         the text, 28 bytes behind this one
        0x02800006 | length << 10,  # addi.w $a2, $zero, length
        0x0280000B | 64 << 10,  # addi.w $a7, $zero, 64 write
        0x002B0000,  # syscall 0
        0x02800004,  # addi.w $a0, $zero, 0
        0x0280000B | 93 << 10,  # addi.w $a7, $zero, 93 exit
        0x002B0000,  # syscall 0
    )


# The machine code and e_flags. arm: EABI version 5; ppc64le: ELFv2; mips64le: MIPS64 release 1;
# loong64: object file ABI version 1 with the base ABI lp64d.
_CODE: dict[str, tuple[Callable[[int, int], bytes], int]] = {
    "386": (_386, 0),
    "amd64": (_amd64, 0),
    "arm": (_arm, 0x05000000),
    "arm64": (_arm64, 0),
    "loong64": (_loong64, 0x43),
    "mips64le": (_mips64le, 0x60000000),
    "ppc64le": (_ppc64le, 2),
    "riscv64": (_riscv64, 0),
    "s390x": (_s390x, 0),
}
