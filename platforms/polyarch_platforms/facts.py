"""What a probe answered (`data/probe.sh`), with types: from this machine, from a fixture, from a machine far away."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator, Mapping
from typing import Literal

from polyarch_platforms.errors import FactsError, quoted
from polyarch_platforms.lazy_dataclass import dataclass

VERSION = 1
MAX_TEXT = 256 * 1024
MAX_LINE = 16 * 1024
_FIRST, _LAST = re.compile(r"polyarch-probe ([0-9]{1,9})"), "end"

# System V gABI, "ELF Identification" and "ELF Header".
_EI_CLASS, _EI_DATA, _E_MACHINE = 4, 5, 18
_CLASSES: Mapping[int, Literal[32, 64]] = {1: 32, 2: 64}
_ORDERS: Mapping[int, Literal["little", "big"]] = {1: "little", 2: "big"}
# Linux, include/uapi/linux/auxvec.h.
_AT_PAGESZ, _AT_HWCAP2 = 6, 26
# user_namespaces(7): the map of the first namespace.
_WHOLE_MAP = ("0", "0", "4294967295")


@dataclass(frozen=True, slots=True)
class ElfHead:
    """The part of a program's ELF header that tells what it is for: 32 or 64 bits, byte order, e_machine."""

    bits: Literal[32, 64]
    data: Literal["little", "big"]
    machine: int


@dataclass(frozen=True, slots=True)
class Facts:
    """One machine's answer. A fact that the probe could not learn is empty, or None where empty would say something.

    os, release, machine    `uname -s -r -m`
    userland                what the machine's own tools are
    process                 what the kernel really started for the probe's shell; QEMU, where that runs under QEMU
    executable              its path
    page_size               bytes (AT_PAGESZ)
    hwcap2                  AT_HWCAP2
    cpuinfo                 (key, value) of /proc/cpuinfo, each once
    libc                    `glibc`, `musl` or ""
    in_chroot               "/" is no mount point
    dt_model                the device tree's model
    dt_compatible           and what it is compatible with, most specific first
    dt_revision             and the board's revision code, hexadecimal
    linux32                 the kernel runs 32-bit programs (arm64): what it says to the personality PER_LINUX32
    aarch32_el0             CPUs that run 32-bit programs, where not all do (arm64)
    kernel_config           the lines of the kernel's configuration that concern 386 programs
    ia32_parameter          the kernel's parameter ia32_emulation
    vsyscall32              the kernel has the 32-bit vDSO's switch (amd64)
    ran_386                 a 386 program ran (amd64)
    inside                  containers found around it
    in_user_namespace       it is not the first one
    binfmt                  file -> lines of /proc/sys/fs/binfmt_misc
    """

    os: str
    release: str
    machine: str
    userland: ElfHead | None = None
    process: ElfHead | None = None
    executable: str = ""
    page_size: int | None = None
    hwcap2: int = 0
    cpuinfo: tuple[tuple[str, str], ...] = ()
    libc: str = ""
    in_chroot: bool = False
    dt_model: str = ""
    dt_compatible: tuple[str, ...] = ()
    dt_revision: str = ""
    linux32: bool | None = None
    aarch32_el0: str = ""
    kernel_config: tuple[str, ...] = ()
    ia32_parameter: str = ""
    vsyscall32: bool | None = None
    ran_386: bool | None = None
    inside: tuple[str, ...] = ()
    in_user_namespace: bool = False
    binfmt: tuple[tuple[str, tuple[str, ...]], ...] = ()

    @property
    def emulator(self) -> str:
        """The path of the user-mode emulator that the probe itself ran under (QEMU, Rosetta, box64); "" if none.

        Known by what the kernel started for the shell: a program for another family of machines, or one called QEMU.
        """
        name = self.executable.rsplit("/", 1)[-1]
        named = name.startswith("qemu-") or name.endswith("-binfmt-P")
        foreign = (
            self.userland is not None and self.process is not None and _family(self.userland) != _family(self.process)
        )
        return (self.executable or "unknown") if named or foreign else ""

    @property
    def qemu(self) -> bool:
        """The probe ran under QEMU's user mode."""
        return "qemu" in self.emulator or self.emulator.endswith("-binfmt-P")

    def cpu(self, key: str) -> tuple[str, ...]:
        """The values of `key` in /proc/cpuinfo."""
        return tuple(value for name, value in self.cpuinfo if name == key)


def _family(head: ElfHead) -> int:
    """e_machine, that of the 64-bit sibling for 386 and arm: a shell and a tool of these two kinds are no emulation."""
    return {3: 62, 40: 183}.get(head.machine, head.machine)


def parse_facts(text: str) -> Facts:
    """The facts in a probe's answer. Lines around it (a login's greeting) and unknown facts are passed over.

    Raises FactsError, and nothing else, for any text: one that is no answer, of another version, cut or too long.
    """
    answer = _Answer(text)
    uname = answer.one("uname").split()
    if len(uname) != 3:
        raise FactsError("the probe's answer does not say what machine it is of ('uname' is missing)", _HINT)
    os, release, machine = uname
    userland = _elf(answer.one("elf-user"))
    auxv = _auxv(answer.one("auxv"), userland)
    return Facts(
        os=os,
        release=release,
        machine=machine,
        userland=userland,
        process=_elf(answer.one("elf-process")),
        executable=answer.one("exe"),
        page_size=_page_size(auxv.get(_AT_PAGESZ, 0)),
        hwcap2=auxv.get(_AT_HWCAP2, 0),
        cpuinfo=tuple(_pairs(answer.all("cpu"))),
        libc=answer.one("libc"),
        in_chroot=bool(answer.one("mountinfo")) and not answer.one("root-mount"),
        dt_model=answer.one("dt-model"),
        dt_compatible=answer.all("dt-compatible"),
        dt_revision=answer.one("dt-revision").replace(" ", ""),
        linux32=_linux32(answer.one("linux32")),
        aarch32_el0=answer.one("aarch32-el0"),
        kernel_config=answer.all("config"),
        ia32_parameter=answer.one("parameter").removeprefix("ia32_emulation="),
        vsyscall32=_truth(answer.one("vsyscall32")),
        ran_386=_truth(answer.one("ran-386")),
        inside=tuple(dict.fromkeys(answer.all("inside"))),
        in_user_namespace=tuple(answer.one("uid-map").split()) not in ((), _WHOLE_MAP),
        binfmt=_files(answer.all("binfmt")),
    )


_HINT = "run the probe again: polyarch device --print-probe"


class _Answer:
    """The lines of an answer, by name."""

    def __init__(self, text: str) -> None:
        if len(text) > MAX_TEXT:
            raise FactsError(f"a probe's answer has at most {MAX_TEXT} characters, this text has more", _HINT)
        self._facts: dict[str, list[str]] = {}
        lines = iter(text.splitlines())
        _skip_to_start(lines)
        for line in lines:
            name, _, value = line.strip().partition(" ")
            if name == _LAST and not value:
                return
            if len(line) > MAX_LINE:
                raise FactsError(f"the probe's answer has a line of {len(line)} characters ({quoted(name)})", _HINT)
            self._facts.setdefault(name, []).append(_clean(value))
        raise FactsError("the probe's answer is cut short: its last line is missing", _HINT)

    def all(self, name: str) -> tuple[str, ...]:
        return tuple(value for value in self._facts.get(name, ()) if value)

    def one(self, name: str) -> str:
        found = self.all(name)
        return found[0] if found else ""


def _skip_to_start(lines: Iterator[str]) -> None:
    for line in lines:
        first = _FIRST.fullmatch(line.strip())
        if first is None:
            continue
        if first[1] != str(VERSION):
            raise FactsError(
                f"the probe's answer is of version {quoted(first[1])}, this polyarch reads {VERSION}", _HINT
            )
        return
    raise FactsError("this is no answer of polyarch's probe", _HINT)


def _clean(value: str) -> str:
    """Text that may be shown and written: what is not printable becomes a question mark."""
    if value.replace("\t", " ").isprintable():
        return value.strip()
    return "".join(one if one.isprintable() or one == "\t" else "?" for one in value).strip()


def _truth(value: str) -> bool | None:
    return {"yes": True, "no": False}.get(value)


def _linux32(value: str) -> bool | None:
    """Linux, arch/arm64/include/asm/compat.h: armv8l is said where the kernel is made for 32-bit programs, too."""
    return False if value in ("refused", "aarch64") else True if value.startswith("arm") else None


def _bytes(value: str) -> bytes:
    try:
        return bytes.fromhex(value)
    except ValueError:
        return b""


def _elf(value: str) -> ElfHead | None:
    """The header of a program from the hexadecimal of its first bytes; None if it is none."""
    head = _bytes(value)
    if len(head) < _E_MACHINE + 2 or head[:4] != b"\x7fELF":
        return None
    bits, data = _CLASSES.get(head[_EI_CLASS]), _ORDERS.get(head[_EI_DATA])
    if bits is None or data is None:
        return None
    return ElfHead(bits, data, int.from_bytes(head[_E_MACHINE : _E_MACHINE + 2], data))


def _auxv(value: str, userland: ElfHead | None) -> dict[int, int]:
    """The auxiliary vector from what `od -t x4` printed: pairs of the userland's word size, in its byte order."""
    if userland is None:
        return {}
    order = "<" if userland.data == "little" else ">"
    words = [_word(one) for one in value.split()]
    raw = struct.pack(f"{order}{len(words)}I", *words)
    pair = struct.Struct(f"{order}{'II' if userland.bits == 32 else 'QQ'}")
    whole = raw[: len(raw) - len(raw) % pair.size]
    return dict(pair.iter_unpack(whole))


def _word(value: str) -> int:
    return int(value, 16) if re.fullmatch(r"[0-9a-f]{8}", value) else 0


def _page_size(size: int) -> int | None:
    """A page size that a kernel can have: a power of two from 4 KiB to 1 MiB."""
    return size if 4096 <= size <= 1 << 20 and size & (size - 1) == 0 else None


def _pairs(lines: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for line in dict.fromkeys(lines):
        key, _, value = line.partition(":")
        yield key.strip(), value.strip()


def _files(lines: tuple[str, ...]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """`name:line` of many files -> each file's lines."""
    files: dict[str, list[str]] = {}
    for line in lines:
        name, _, content = line.partition(":")
        files.setdefault(name, []).append(content)
    return tuple((name, tuple(content)) for name, content in files.items())
