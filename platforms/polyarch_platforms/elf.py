"""What a binary really is: its ELF header, program headers and the notes its linker left.

Sources: System V gABI, "ELF Header", "Program Header", "Sections", "Dynamic Section"; Linux, fs/binfmt_elf.c (what the
kernel asks of a program); ELF for the Arm Architecture (IHI 0044), "ARM-specific e_flags"; RISC-V ELF psABI,
"Program Header Table" (PT_RISCV_ATTRIBUTES).
"""

from __future__ import annotations

import io
import struct
from typing import BinaryIO, Literal

from polyarch_platforms import architecture, arm_attributes, gnu_property, riscv_attributes
from polyarch_platforms.architecture import Architecture
from polyarch_platforms.arm_attributes import ArmAttributes
from polyarch_platforms.errors import ElfError
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform, normalise

_PT_LOAD, _PT_DYNAMIC, _PT_INTERP, _PT_GNU_PROPERTY = 1, 2, 3, 0x6474E553
_PT_RISCV_ATTRIBUTES = 0x70000003
_DT_NULL, _DT_NEEDED = 0, 1
_SHT_ARM_ATTRIBUTES = 0x70000003
_EM_386, _EM_ARM, _EM_X86_64, _EM_RISCV = 3, 40, 62, 243
_EF_ARM_ABI_FLOAT_SOFT, _EF_ARM_ABI_FLOAT_HARD = 0x200, 0x400
_SMALLEST_PAGE = 4096  # of all kernels; what is linked more closely (ld -n) was meant for that
_LINUX_ABIS = (0, 3)  # EI_OSABI: System V, and GNU/Linux where a static program uses IFUNC

# Linux, fs/binfmt_elf.c, load_elf_phdrs and load_elf_binary: what is larger is not executed.
_MAX_PROGRAM_HEADERS = 65536
_MAX_INTERPRETER = 4096
# Bounds of our own for what the kernel does not read.
_MAX_SECTIONS = 4096
_MAX_DYNAMIC = 64 * 1024


@dataclass(frozen=True, slots=True)
class Elf:
    """An ELF file's facts. What the file does not tell, or tells in a broken note, is None.

    bits, byte_order, os_abi, type, machine, flags   e_ident and header fields, as numbers of the gABI
    interpreter     the path in PT_INTERP
    static          it needs neither an interpreter nor a shared library
    max_p_align     the largest alignment of a PT_LOAD segment in bytes; 0 where there is none
    hard_float      ARM: floats are passed in VFP registers
    arm_cpu_arch    ARM: Tag_CPU_arch in words (`v5te`, `v6`, `v7`)
    x86_isa_level   x86: the x86-64 level needed (1 to 4), GNU_PROPERTY_X86_ISA_1_NEEDED
    riscv_extensions  RISC-V: what it was built for, Tag_RISCV_arch in words (`zba`); () where it is not told
    """

    bits: Literal[32, 64]
    byte_order: Literal["little", "big"]
    os_abi: int
    type: int
    machine: int
    flags: int
    interpreter: str | None
    static: bool
    max_p_align: int
    hard_float: bool | None
    arm_cpu_arch: str | None
    x86_isa_level: int | None
    riscv_extensions: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Segment:
    kind: int
    offset: int
    size: int
    align: int


class _File:
    """Bounded reads at any place; a read beyond the end is an ElfError."""

    def __init__(self, stream: BinaryIO, size: int | None) -> None:
        self._stream = stream
        self.size = stream.seek(0, io.SEEK_END) if size is None else size

    def read(self, offset: int, length: int) -> bytes:
        if offset + length > self.size:
            raise ElfError(f"the ELF file is cut short: it ends at byte {self.size}, before {offset + length}")
        self._stream.seek(offset)
        parts = []
        missing = length
        while missing and (part := self._stream.read(missing)):
            parts.append(part)
            missing -= len(part)
        if missing:
            raise ElfError(f"the ELF file is cut short: it ends before byte {offset + length}")
        return b"".join(parts)


def read_elf(stream: BinaryIO | bytes, size: int | None = None) -> Elf:
    """A program, as bytes or a seekable stream of `size` bytes (None: to its end) -> its facts.

    Less than half a megabyte is read. Raises ElfError, and nothing else, for whatever bytes: no ELF file, headers that
    contradict themselves, or a file that is cut short. Section headers, build attributes and properties are the
    linker's notes, which the kernel does not read either: where they are broken, what they would tell is None.
    """
    file = _File(io.BytesIO(stream) if isinstance(stream, bytes) else stream, size)
    ident = file.read(0, 16) if file.size >= 16 else b""
    if ident[:4] != b"\x7fELF":
        raise ElfError("not an ELF file")
    if ident[4] not in (1, 2) or ident[5] not in (1, 2) or ident[6] != 1:
        raise ElfError(f"broken ELF header: class {ident[4]}, byte order {ident[5]}, version {ident[6]}")
    bits: Literal[32, 64] = 32 if ident[4] == 1 else 64
    byte_order: Literal["little", "big"] = "little" if ident[5] == 1 else "big"
    order = "<" if byte_order == "little" else ">"

    layout = struct.Struct(order + ("HHIIIIIHHHHHH" if bits == 32 else "HHIQQQIHHHHHH"))
    fields = layout.unpack(file.read(16, layout.size))
    kind, machine, _, _, phoff, shoff, flags, _, phentsize, phnum, shentsize, shnum, _ = fields

    segments = _segments(file, bits, order, phoff, phentsize, phnum)
    attributes = ArmAttributes()
    if machine == _EM_ARM:
        attributes = _arm_attributes(file, bits, byte_order, (shoff, shentsize, shnum))
    interpreter = _interpreter(file, segments)
    return Elf(
        bits=bits,
        byte_order=byte_order,
        os_abi=ident[7],
        type=kind,
        machine=machine,
        flags=flags,
        interpreter=interpreter,
        static=interpreter is None and not _needs_libraries(file, segments, bits, order),
        max_p_align=max((one.align for one in segments if one.kind == _PT_LOAD), default=0),
        hard_float=_hard_float(flags, attributes) if machine == _EM_ARM else None,
        arm_cpu_arch=attributes.cpu_arch,
        x86_isa_level=_x86_level(file, segments, bits) if machine in (_EM_386, _EM_X86_64) else None,
        riscv_extensions=_riscv_extensions(file, segments) if machine == _EM_RISCV else (),
    )


def _segments(file: _File, bits: int, order: str, offset: int, entry: int, count: int) -> tuple[_Segment, ...]:
    if count == 0:
        return ()
    layout = struct.Struct(order + ("IIIIIIII" if bits == 32 else "IIQQQQQQ"))
    if entry != layout.size or entry * count > _MAX_PROGRAM_HEADERS:
        raise ElfError(f"broken ELF header: {count} program headers of {entry} bytes")
    segments = []
    for values in layout.iter_unpack(file.read(offset, entry * count)):
        if bits == 32:
            kind, start, _, _, size, _, _, align = values
        else:
            kind, _, start, _, _, size, _, align = values
        if kind == _PT_LOAD and start + size > file.size:
            raise ElfError(f"the ELF file is cut short: it ends at byte {file.size}, before {start + size}")
        # gABI: 0 and 1 ask for nothing, all else is a power of two; the kernel passes over what is not.
        segments.append(_Segment(kind, start, size, align if align & (align - 1) == 0 else 0))
    return tuple(segments)


def _interpreter(file: _File, segments: tuple[_Segment, ...]) -> str | None:
    for one in segments:
        if one.kind == _PT_INTERP:
            if not 2 <= one.size <= _MAX_INTERPRETER:
                raise ElfError(f"broken ELF file: the path of its interpreter has {one.size} bytes")
            path = file.read(one.offset, one.size)
            if path[-1] != 0:
                raise ElfError("broken ELF file: the path of its interpreter has no end")
            return path.partition(b"\0")[0].decode("utf-8", "surrogateescape")
    return None


def _needs_libraries(file: _File, segments: tuple[_Segment, ...], bits: int, order: str) -> bool:
    entry = struct.Struct(order + ("II" if bits == 32 else "QQ"))
    dynamic = next((one for one in segments if one.kind == _PT_DYNAMIC), None)
    if dynamic is not None:
        length = min(dynamic.size, _MAX_DYNAMIC)
        for tag, _ in entry.iter_unpack(file.read(dynamic.offset, length - length % entry.size)):
            if tag in (_DT_NEEDED, _DT_NULL):
                return bool(tag == _DT_NEEDED)
    return False


def _arm_attributes(
    file: _File, bits: int, byte_order: Literal["little", "big"], table: tuple[int, int, int]
) -> ArmAttributes:
    offset, entry, count = table
    order = "<" if byte_order == "little" else ">"
    layout = struct.Struct(order + ("IIIIIIIIII" if bits == 32 else "IIQQQQIIQQ"))
    if offset == 0 or entry != layout.size or count > _MAX_SECTIONS:
        return ArmAttributes()
    try:
        for values in layout.iter_unpack(file.read(offset, entry * count)):
            kind, start, size = values[1], values[4], values[5]
            if kind == _SHT_ARM_ATTRIBUTES and size <= arm_attributes.MAX_SECTION:
                return arm_attributes.parse(file.read(start, size), byte_order)
    except (ElfError, ValueError):
        pass  # a broken note is no note
    return ArmAttributes()


def _x86_level(file: _File, segments: tuple[_Segment, ...], bits: Literal[32, 64]) -> int | None:
    for one in segments:
        if one.kind == _PT_GNU_PROPERTY and one.size <= gnu_property.MAX_NOTES:
            try:
                return gnu_property.x86_isa_level(file.read(one.offset, one.size), bits)
            except (ElfError, ValueError):
                return None  # a broken note is no note
    return None


def _riscv_extensions(file: _File, segments: tuple[_Segment, ...]) -> tuple[str, ...]:
    for one in segments:
        if one.kind == _PT_RISCV_ATTRIBUTES and one.size <= riscv_attributes.MAX_SEGMENT:
            try:
                return riscv_attributes.extensions(file.read(one.offset, one.size))
            except (ElfError, ValueError):
                break  # a broken note is no note
    return ()


def _hard_float(flags: int, attributes: ArmAttributes) -> bool | None:
    if flags & _EF_ARM_ABI_FLOAT_HARD:
        return True
    if flags & _EF_ARM_ABI_FLOAT_SOFT:
        return False
    return attributes.hard_float


def platform_of(elf: Elf) -> Platform:
    """The platform that the program itself proves, in normal form.

    The variant is what its notes prove: for arm the architecture it was built for, for amd64 the level it needs (from
    v2), for riscv64 the profile (from rva22u64); "" where they say nothing. Raises ElfError for machines and systems
    that polyarch does not know.
    """
    known = _architecture(elf)
    if known is None:
        raise ElfError(
            f"the program is for a machine that polyarch does not know: e_machine {elf.machine}, {elf.bits} bits, "
            f"{elf.byte_order} endian, e_flags {elf.flags:#x}"
        )
    if elf.os_abi not in _LINUX_ABIS:
        raise ElfError(f"the program is for {known.name}, but not for Linux: EI_OSABI is {elf.os_abi}")
    variant = ""
    if known.name == "arm":
        variant = _arm_variant(elf.arm_cpu_arch)
    elif known.name == "amd64" and elf.x86_isa_level:
        variant = f"v{elf.x86_isa_level}"
    elif known.name == "riscv64" and (profile := known.level(elf.riscv_extensions)) != known.unlabelled_variant:
        variant = profile
    return normalise(Platform("linux", known.name, variant))


def known_platform(elf: Elf) -> Platform | None:
    """The same; None for what polyarch does not know."""
    try:
        return platform_of(elf)
    except ElfError:
        return None


def _architecture(elf: Elf) -> Architecture | None:
    for one in architecture.load().values():
        same_machine = (one.elf_machine, one.elf_class, one.elf_data) == (elf.machine, elf.bits, elf.byte_order)
        if same_machine and elf.flags & one.elf_flags_mask == one.elf_flags_value:
            return one
    return None


def _arm_variant(cpu_arch: str | None) -> str:
    """Tag_CPU_arch in words -> the lowest variant of the image-spec that runs it: all before v6 runs on v5."""
    if cpu_arch is None:
        return ""
    if cpu_arch[:2] in ("v6", "v7"):
        return cpu_arch[:2]
    return "v8" if cpu_arch[:2] in ("v8", "v9") else "v5"


def contradiction(elf: Elf, promised: Platform, page_size: int | None = None) -> str | None:
    """One sentence why the program cannot be what the platform promises, or None where it fits.

    A promise without a variant is that of its architecture's lowest usual one (amd64: v1, arm: v7). `page_size` (bytes)
    is that of the kernel that is to run it, where it is known: a segment must be aligned to it at least.
    """
    promised = normalise(promised)
    try:
        actual = platform_of(elf)
    except ElfError as error:
        return f"{promised} is promised, but {error}"
    if (actual.os, actual.architecture) != (promised.os, promised.architecture):
        return f"{promised} is promised, but the program is {elf.bits}-bit code for {actual.os}/{actual.architecture}"
    known = architecture.load()[actual.architecture]
    least = promised.variant or known.unlabelled_variant
    if actual.variant and actual.variant not in known.runs(least):
        return f"{promised} is promised, but the program needs {actual}"
    if page_size is not None and elf.max_p_align and (align := max(elf.max_p_align, _SMALLEST_PAGE)) < page_size:
        return (
            f"the program's segments are aligned to {align // 1024}K, but the kernel's pages are {page_size // 1024}K"
        )
    return None
