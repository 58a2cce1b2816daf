"""The architectures polyarch knows: one TOML file each in `data/architectures`, every fact there with its source."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import field
from functools import cache
from types import MappingProxyType
from typing import Any, Literal

from polyarch_platforms import knowledge
from polyarch_platforms.lazy_dataclass import dataclass

_NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Architecture:
    """What is to know of one architecture, under the name that OCI (and Go) give it.

    name                the OCI name (`arm64`)
    aliases             other words for it -> (name, the variant the word stands for or "")
    variants            the variants it has, best first; empty where the image-spec names none
    default_variant     what a user's bare name means (`arm` is v7), else ""
    unlabelled_variant  what an index entry without a variant is taken for, else ""
    implied_variant     the variant that the normal form leaves out (arm64 v8, amd64 v1), else ""
    elf_class           32 or 64 (e_ident[EI_CLASS])
    elf_machine         e_machine
    elf_data            byte order (e_ident[EI_DATA])
    elf_flags_mask      what of e_flags must equal `elf_flags_value`
    elf_flags_value
    magic               (magic, mask) pairs for binfmt_misc, offset 0
    qemu                its name in `qemu-NAME`
    qemu_cpu            variant -> the CPU that QEMU has to be given for it (QEMU_CPU); where none stands, its default
    may_run             architectures whose programs its CPUs may run natively
    uname               what `uname -m` says on its kernels
    features            variant -> CPU features that it asks for beyond the variants it includes, named as
                        /proc/cpuinfo does (or `hwcap2`); a variant that is not listed cannot be detected
    hwcap2              feature -> its bit in AT_HWCAP2, where /proc/cpuinfo names no features
    includes            variant -> the variants it holds directly; where empty, each holds all that stand behind it
    """

    name: str
    aliases: Mapping[str, tuple[str, str]] = field(hash=False)
    variants: tuple[str, ...]
    default_variant: str
    unlabelled_variant: str
    implied_variant: str
    elf_class: Literal[32, 64]
    elf_machine: int
    elf_data: Literal["little", "big"]
    elf_flags_mask: int
    elf_flags_value: int
    magic: tuple[tuple[bytes, bytes], ...]
    qemu: str
    qemu_cpu: Mapping[str, str] = field(hash=False)
    may_run: tuple[str, ...]
    uname: tuple[str, ...]
    features: Mapping[str, tuple[str, ...]] = field(hash=False)
    hwcap2: Mapping[str, int] = field(hash=False)
    includes: Mapping[str, tuple[str, ...]] = field(hash=False)

    def runs(self, variant: str) -> tuple[str, ...]:
        """The variants that a CPU of `variant` runs, best first, itself included; only itself where it is unknown."""
        if variant not in self.variants:
            return (variant,)
        if not self.includes:
            return self.variants[self.variants.index(variant) :]
        held, waiting = {variant}, [variant]
        while waiting:
            new = set(self.includes.get(waiting.pop(), ())) - held
            held |= new
            waiting += new
        return tuple(name for name in self.variants if name in held)

    def level(self, features: Iterable[str]) -> str:
        """The best variant whose every feature is among `features`; "" where not even the lowest is proven."""
        present = set(features)
        for variant in self.variants:
            needs = [self.features.get(held) for held in self.runs(variant)]
            if all(need is not None and present.issuperset(need) for need in needs):
                return variant
        return ""


def _magic(elf_class: int, data: Literal["little", "big"], machine: int) -> tuple[bytes, bytes]:
    """(magic, mask) that tell programs of one architecture by their first 20 bytes.

    System V gABI, "ELF Header" and "ELF Identification": magic number, EI_CLASS, EI_DATA and EI_VERSION exactly;
    EI_OSABI 0 (System V) or 3 (GNU/Linux, set by static programs with IFUNC), hence mask fc; EI_ABIVERSION and EI_PAD
    free, as for the kernel; e_type ET_EXEC (2) or ET_DYN (3), hence mask fe on its low byte; e_machine exactly.
    """
    ident = b"\x7fELF" + bytes((elf_class // 32, 1 if data == "little" else 2, 1))
    magic = ident + bytes(9) + (2).to_bytes(2, data) + machine.to_bytes(2, data)
    mask = b"\xff" * 7 + b"\xfc" + bytes(8) + (0xFFFE).to_bytes(2, data) + b"\xff\xff"
    return magic, mask


def _architecture(document: Mapping[str, Any]) -> Architecture:
    name, elf = document["name"], document["elf"]
    return Architecture(
        name=name,
        aliases=MappingProxyType({alias: (name, variant) for alias, variant in document["aliases"].items()}),
        variants=tuple(document["variants"]),
        default_variant=document.get("default_variant", ""),
        unlabelled_variant=document.get("unlabelled_variant", ""),
        implied_variant=document.get("implied_variant", ""),
        elf_class=elf["class"],
        elf_machine=elf["machine"],
        elf_data=elf["data"],
        elf_flags_mask=elf.get("flags_mask", 0),
        elf_flags_value=elf.get("flags_value", 0),
        magic=(_magic(elf["class"], elf["data"], elf["machine"]),),
        qemu=document["qemu"],
        qemu_cpu=MappingProxyType(document.get("qemu_cpu", _NOTHING)),
        may_run=tuple(document.get("may_run", ())),
        uname=tuple(document["uname"]),
        features=_tuples(document.get("features", _NOTHING)),
        hwcap2=MappingProxyType(document.get("hwcap2", _NOTHING)),
        includes=_tuples(document.get("includes", _NOTHING)),
    )


def _tuples(table: Mapping[str, Iterable[str]]) -> Mapping[str, tuple[str, ...]]:
    return MappingProxyType({key: tuple(values) for key, values in table.items()})


@cache
def load() -> Mapping[str, Architecture]:
    """Every architecture by its OCI name, in alphabetical order. Read once."""
    found = [_architecture(knowledge.table(name)) for name in knowledge.names("architectures")]
    return MappingProxyType({one.name: one for one in sorted(found, key=lambda one: one.name)})


def get(name: str) -> Architecture | None:
    """The architecture with the OCI name `name` (no alias), or None."""
    return load().get(name)


@cache
def words() -> Mapping[str, tuple[str, str]]:
    """Every word for an architecture, names and aliases alike -> (name, the variant the word stands for or "")."""
    table = {one.name: (one.name, "") for one in load().values()}
    for one in load().values():
        table.update(one.aliases)
    return MappingProxyType(table)
