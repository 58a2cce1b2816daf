"""Just enough of each architecture's machine code for two or three system calls in a row, without a branch.

Sources: Linux, the system call tables (arch/*/…/syscall*.tbl, for the newer architectures
include/uapi/asm-generic/unistd.h) and syscall(2), "Architecture calling conventions" (which registers); the encodings
from each architecture's manual: Intel SDM volume 2, Arm ARM (DDI 0406, DDI 0487), RISC-V ISA volume 1, Power ISA
book I, z/Architecture Principles of Operation, MIPS64 volume II-A, LoongArch reference manual volume 1.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class Number:
    """0 to 255."""

    value: int


@dataclass(frozen=True, slots=True)
class Address:
    """A 32-bit address below 0x800000, of which the low half is below 256."""

    value: int


@dataclass(frozen=True, slots=True)
class Stacked:
    """The word that stands so many words above the stack pointer."""

    words: int


@dataclass(frozen=True, slots=True)
class StackAddress:
    """The address so many words above the stack pointer."""

    words: int


@dataclass(frozen=True, slots=True)
class Result:
    """What the last system call gave; only as the first argument."""


Operand = Number | Address | Stacked | StackAddress | Result


@dataclass(frozen=True, slots=True)
class Machine:
    """How an architecture makes a system call: arguments into registers, the call's number into another, the trap.

    calls           the numbers of the system calls used here
    arguments       the registers of the first three arguments
    number          (register, value) -> code; the value is up to 5105 for a call's number, else as `Number`
    address, stacked, stack_address   (register, address or bytes above the stack pointer) -> code
    trap            call's number -> code that puts it where it belongs and calls the kernel
    result          code that takes the last call's result for the first argument
    e_flags         of its ELF files
    """

    calls: dict[str, int]
    arguments: tuple[int, int, int]
    number: Callable[[int, int], bytes]
    address: Callable[[int, int], bytes]
    stacked: Callable[[int, int], bytes]
    stack_address: Callable[[int, int], bytes]
    trap: Callable[[int], bytes]
    result: bytes = b""
    e_flags: int = 0

    def call(self, name: str, word: int, *operands: Operand) -> bytes:
        """The code of one system call; `word` is the size of a pointer in bytes."""
        code = b""
        for register, operand in zip(self.arguments, operands, strict=False):
            match operand:
                case Number(value):
                    code += self.number(register, value)
                case Address(value):
                    code += self.address(register, value)
                case Stacked(words):
                    code += self.stacked(register, words * word)
                case StackAddress(words):
                    code += self.stack_address(register, words * word)
                case Result():
                    code += self.result
        return code + self.trap(self.calls[name])


def _le(*words: int) -> bytes:
    return struct.pack(f"<{len(words)}I", *words)


def _split(address: int) -> tuple[int, int]:
    return address >> 16, address & 0xFFFF


def _mov_x86(register: int, value: int) -> bytes:
    return bytes((0xB8 | register,)) + struct.pack("<I", value)  # mov r, value


def _address_arm(register: int, address: int) -> bytes:
    high, low = _split(address)
    # mov r, #high << 16 (a byte, rotated right by 2 × 8 bits); orr r, r, #low
    return _le(0xE3A00800 | register << 12 | high, 0xE3800000 | register << 16 | register << 12 | low)


def _address_arm64(register: int, address: int) -> bytes:
    high, low = _split(address)
    return _le(0xD2A00000 | high << 5 | register, 0xF2800000 | low << 5 | register)  # movz r, high, lsl 16; movk r, low


def _address_riscv64(register: int, address: int) -> bytes:
    low = address & 0xFFF  # lui r, high 20 bits; addi r, r, low 12 bits
    return _le(address - low | register << 7 | 0x37, low << 20 | register << 15 | register << 7 | 0x13)


def _address_ppc64le(register: int, address: int) -> bytes:
    high, low = _split(address)  # lis r, high; ori r, r, low
    return _le(0x3C000000 | register << 21 | high, 0x60000000 | register << 21 | register << 16 | low)


def _address_s390x(register: int, address: int) -> bytes:
    return struct.pack(">BBHBBH", 0xA5, register << 4 | 0xE, address >> 16, 0xA5, register << 4 | 0xB, address & 0xFFFF)


def _address_mips64le(register: int, address: int) -> bytes:
    high, low = _split(address)  # lui r, high; ori r, r, low
    return _le(0x3C000000 | register << 16 | high, 0x34000000 | register << 21 | register << 16 | low)


def _address_loong64(register: int, address: int) -> bytes:
    low = address & 0xFFF  # lu12i.w r, high 20 bits; ori r, r, low 12 bits
    return _le(0x14000000 | address >> 12 << 5 | register, 0x03800000 | low << 10 | register << 5 | register)


_GENERIC = {"write": 64, "execve": 221, "exit": 93, "geteuid": 175}
_OLD = {"write": 4, "execve": 11, "exit": 1, "geteuid": 201}  # geteuid32, where there is an older one, too

# e_flags. arm: EABI version 5; ppc64le: ELFv2; mips64le: MIPS64 release 1; loong64: object file ABI version 1 with the
# base ABI lp64d.
MACHINES: dict[str, Machine] = {
    "386": Machine(
        _OLD,
        (3, 1, 2),  # ebx, ecx, edx
        number=_mov_x86,
        address=_mov_x86,
        stacked=lambda r, d: bytes((0x8B, 0x44 | r << 3, 0x24, d)),  # mov r, [esp+d]
        stack_address=lambda r, d: bytes((0x8D, 0x44 | r << 3, 0x24, d)),  # lea r, [esp+d]
        trap=lambda n: _mov_x86(0, n) + b"\xcd\x80",  # mov eax, n; int 0x80
        result=b"\x89\xc3",  # mov ebx, eax
    ),
    "amd64": Machine(
        {"write": 1, "execve": 59, "exit": 60, "geteuid": 107},
        (7, 6, 2),  # rdi, rsi, rdx
        number=_mov_x86,
        address=_mov_x86,
        stacked=lambda r, d: bytes((0x48, 0x8B, 0x44 | r << 3, 0x24, d)),  # mov r, [rsp+d]
        stack_address=lambda r, d: bytes((0x48, 0x8D, 0x44 | r << 3, 0x24, d)),  # lea r, [rsp+d]
        trap=lambda n: _mov_x86(0, n) + b"\x0f\x05",  # mov eax, n; syscall
        result=b"\x89\xc7",  # mov edi, eax
    ),
    "arm": Machine(
        _OLD,
        (0, 1, 2),
        number=lambda r, n: _le(0xE3A00000 | r << 12 | n),  # mov r, #n
        address=_address_arm,
        stacked=lambda r, d: _le(0xE59D0000 | r << 12 | d),  # ldr r, [sp, #d]
        stack_address=lambda r, d: _le(0xE28D0000 | r << 12 | d),  # add r, sp, #d
        trap=lambda n: _le(0xE3A07000 | n, 0xEF000000),  # mov r7, #n; svc 0
        e_flags=0x05000000,
    ),
    "arm64": Machine(
        _GENERIC,
        (0, 1, 2),
        number=lambda r, n: _le(0xD2800000 | n << 5 | r),  # mov r, #n
        address=_address_arm64,
        stacked=lambda r, d: _le(0xF9400000 | d // 8 << 10 | 31 << 5 | r),  # ldr r, [sp, #d]
        stack_address=lambda r, d: _le(0x91000000 | d << 10 | 31 << 5 | r),  # add r, sp, #d
        trap=lambda n: _le(0xD2800008 | n << 5, 0xD4000001),  # mov x8, #n; svc 0
    ),
    "loong64": Machine(
        _GENERIC,
        (4, 5, 6),
        number=lambda r, n: _le(0x02800000 | n << 10 | r),  # addi.w r, $zero, n
        address=_address_loong64,
        stacked=lambda r, d: _le(0x28C00000 | d << 10 | 3 << 5 | r),  # ld.d r, $sp, d
        stack_address=lambda r, d: _le(0x02C00000 | d << 10 | 3 << 5 | r),  # addi.d r, $sp, d
        trap=lambda n: _le(0x0280000B | n << 10, 0x002B0000),  # addi.w $a7, $zero, n; syscall 0
        e_flags=0x43,
    ),
    "mips64le": Machine(
        {"write": 5001, "execve": 5057, "exit": 5058, "geteuid": 5105},  # n64
        (4, 5, 6),
        number=lambda r, n: _le(0x24000000 | r << 16 | n),  # li r, n
        address=_address_mips64le,
        stacked=lambda r, d: _le(0xDC000000 | 29 << 21 | r << 16 | d),  # ld r, d($sp)
        stack_address=lambda r, d: _le(0x64000000 | 29 << 21 | r << 16 | d),  # daddiu r, $sp, d
        trap=lambda n: _le(0x24020000 | n, 0x0000000C),  # li $v0, n; syscall
        result=_le(0x0040202D),  # move $a0, $v0
        e_flags=0x60000000,
    ),
    "ppc64le": Machine(
        {"write": 4, "execve": 11, "exit": 1, "geteuid": 49},
        (3, 4, 5),
        number=lambda r, n: _le(0x38000000 | r << 21 | n),  # li r, n
        address=_address_ppc64le,
        stacked=lambda r, d: _le(0xE8000000 | r << 21 | 1 << 16 | d),  # ld r, d(r1)
        stack_address=lambda r, d: _le(0x38000000 | r << 21 | 1 << 16 | d),  # addi r, r1, d
        trap=lambda n: _le(0x38000000 | n, 0x44000002),  # li r0, n; sc
        e_flags=2,
    ),
    "riscv64": Machine(
        _GENERIC,
        (10, 11, 12),
        number=lambda r, n: _le(n << 20 | r << 7 | 0x13),  # li r, n
        address=_address_riscv64,
        stacked=lambda r, d: _le(d << 20 | 2 << 15 | 3 << 12 | r << 7 | 0x03),  # ld r, d(sp)
        stack_address=lambda r, d: _le(d << 20 | 2 << 15 | r << 7 | 0x13),  # addi r, sp, d
        trap=lambda n: _le(n << 20 | 17 << 7 | 0x13, 0x00000073),  # li a7, n; ecall
    ),
    "s390x": Machine(
        _OLD,
        (2, 3, 4),
        number=lambda r, n: struct.pack(">BBH", 0xA7, r << 4 | 9, n),  # lghi r, n
        address=_address_s390x,  # llilh r, high; oill r, low
        stacked=lambda r, d: struct.pack(">BBHBB", 0xE3, r << 4, 0xF000 | d, 0, 4),  # lg r, d(%r15)
        stack_address=lambda r, d: struct.pack(">BBH", 0x41, r << 4, 0xF000 | d),  # la r, d(%r15)
        trap=lambda n: bytes((0x0A, n)),  # svc n
    ),
}
