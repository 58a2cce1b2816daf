"""The devices known by name (`data/devices.toml`): sets of facts, from which the vector follows."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

from polyarch_platforms import architecture, arm_cpu, knowledge
from polyarch_platforms.arm_cpu import ArmCpu
from polyarch_platforms.compatibility import Cpu, own_platform, runs_32bit, vector
from polyarch_platforms.device import Board, CpuInfo, Device
from polyarch_platforms.errors import DeviceError, quoted

_PAGE_SIZE = 4096
_LONGEST_NAME = 64


@cache
def _tables() -> Mapping[str, Any]:
    return knowledge.table("devices.toml")


def names() -> tuple[str, ...]:
    """The names of all known devices, in the order of the file: by maker and age."""
    return tuple(_tables()["devices"])


def named(name: str) -> Device:
    """The device called `name`. It has no emulators: those are facts of one machine.

    Raises DeviceError: with the three nearest names (`.nearest`), or with the reason why there is no such device.
    """
    word = name.lower()
    entry = _tables()["devices"].get(word)
    if entry is None:
        raise _unknown(name)
    return _arm(word, entry) if "cpu" in entry else _other(word, entry)


def _unknown(name: str) -> DeviceError:
    from difflib import get_close_matches

    word = name.lower()[:_LONGEST_NAME]
    nearest = tuple(get_close_matches(word, names(), n=3, cutoff=0.0))
    hint = f"the nearest are {', '.join(nearest)}; all are in: polyarch device ls"
    reason = _tables()["never"].get(word)
    return DeviceError(reason or f"no device is called {quoted(name)}", hint, nearest=nearest)


def _arm(name: str, entry: Mapping[str, Any]) -> Device:
    core = arm_cpu.named(entry["cpu"])
    if entry["kernel"] == 32:
        cpu = Cpu("arm", core.version_32bit, page_size=_PAGE_SIZE, userland_bits=32)
    else:
        cpu = Cpu(
            "arm64",
            core.version,
            aarch32=core.runs_aarch32,
            page_size=entry.get("pages", _PAGE_SIZE),
            userland_bits=entry.get("userland", 64),
        )
    return _device(name, entry, cpu, CpuInfo(core.vendor, core.model, (), _level(cpu)), _arm_machine(cpu, core))


def _arm_machine(cpu: Cpu, core: ArmCpu) -> str:
    """`uname -m`: of a 64-bit kernel aarch64, of a 32-bit one the word for its core."""
    known = architecture.load()[cpu.architecture]
    wanted = (cpu.architecture, core.version_32bit)
    return next((word for word in known.uname if known.aliases.get(word) == wanted), known.uname[0])


def _other(name: str, entry: Mapping[str, Any]) -> Device:
    known = architecture.load()[entry["architecture"]]
    cpu = Cpu(
        known.name,
        entry.get("level", ""),
        ia32=entry.get("ia32"),
        page_size=entry.get("pages", _PAGE_SIZE),
        userland_bits=entry.get("userland", known.elf_class),
    )
    return _device(name, entry, cpu, CpuInfo(model=entry.get("model", ""), level=_level(cpu)), known.uname[0])


def _level(cpu: Cpu) -> str:
    return "" if cpu.architecture == "arm" else cpu.variant


def _device(name: str, entry: Mapping[str, Any], cpu: Cpu, info: CpuInfo, machine: str) -> Device:
    native = vector(cpu)
    model, soc = entry.get("board", ""), entry.get("soc", "")
    return Device(
        name=name,
        platform=own_platform(native),
        native=native,
        machine=machine,
        userland_bits=cpu.userland_bits,
        page_size=cpu.page_size,
        cpu=info,
        board=Board(model, soc=soc) if model or soc else None,
        compat32=runs_32bit(cpu),
    )
