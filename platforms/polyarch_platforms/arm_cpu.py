"""ARM processors by the numbers in /proc/cpuinfo (`data/arm_cpus.toml`, with its sources)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Literal

from polyarch_platforms import knowledge
from polyarch_platforms.lazy_dataclass import dataclass

Aarch32 = Literal["kernel", "user", "none"]


@dataclass(frozen=True, slots=True)
class ArmCpu:
    """One processor core.

    implementer, part  the fields of the main ID register, as in /proc/cpuinfo
    vendor, model      their names
    version            the best variant: `v6`, `v7`, `v8.2`
    aarch32            64-bit cores: who can run 32-bit code, the `kernel` too, the `user` only, `none`; None is unknown
    """

    implementer: int
    part: int
    vendor: str
    model: str
    version: str
    aarch32: Aarch32 | None

    @property
    def runs_aarch32(self) -> bool | None:
        """Whether the core runs 32-bit programs; None is unknown."""
        return None if self.aarch32 is None else self.aarch32 != "none"

    @property
    def version_32bit(self) -> str:
        """The variant of `arm` under a 32-bit kernel: never more than v7, whatever the core."""
        return "v7" if self.version.startswith(("v8", "v9")) else self.version


@cache
def _table() -> tuple[Mapping[str, str], Mapping[str, ArmCpu]]:
    document = knowledge.table("arm_cpus.toml")
    vendors, cpus = document["implementers"], {}
    for name, entry in document["cpus"].items():
        implementer, _, part = entry["id"].partition(":")
        cpus[name] = ArmCpu(
            implementer=int(implementer, 16),
            part=int(part, 16),
            vendor=vendors[implementer],
            model=entry["model"],
            version=entry["version"],
            aarch32=entry.get("aarch32"),
        )
    return MappingProxyType(vendors), MappingProxyType(cpus)


def named(name: str) -> ArmCpu:
    """The core called `name` in the table (`cortex-a53`); KeyError if there is none."""
    return _table()[1][name]


def find(implementer: int, part: int) -> ArmCpu | None:
    """The core with these numbers, or None if the table lacks it."""
    for cpu in _table()[1].values():
        if (cpu.implementer, cpu.part) == (implementer, part):
            return cpu
    return None


def vendor(implementer: int) -> str:
    """The implementer's name, or "" if the table lacks it."""
    return _table()[0].get(f"{implementer:#04x}", "")
