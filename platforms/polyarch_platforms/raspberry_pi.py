"""Raspberry Pi: revision code -> model -> system on chip -> processor.

Source: Raspberry Pi documentation, "Raspberry Pi revision codes"; the tables are in `data/raspberry_pi.toml`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

from polyarch_platforms import arm_cpu, knowledge
from polyarch_platforms.arm_cpu import ArmCpu
from polyarch_platforms.lazy_dataclass import dataclass

_CODE = re.compile(r"(?:0x)?([0-9a-fA-F]{1,8})", re.ASCII)
# Bits of a code: "New-style revision codes", NOQuuuWuFMMMCCCCPPPPTTTTTTTTRRRR.
_NEW_FLAG = 1 << 23
# Old codes: bits 24 and 25 say that the warranty is void; they are no part of the code.
_OLD_CODE = 0xFFFF


@dataclass(frozen=True, slots=True)
class RaspberryPi:
    """A board.

    model      as the device tree writes it: `Raspberry Pi 3 Model B`; "" where the code is of a model unknown here
    revision   of the board, `1.2`; "" is unknown
    soc        `BCM2837`; "" is unknown
    memory_mb  0 is unknown
    """

    model: str
    revision: str = ""
    soc: str = ""
    memory_mb: int = 0

    @property
    def cpu(self) -> ArmCpu | None:
        """The processor of the chip; None if the chip is unknown."""
        for entry in _tables()["processors"]:
            if entry["soc"] == self.soc:
                return arm_cpu.named(entry["cpu"])
        return None


@cache
def _tables() -> Mapping[str, Any]:
    return knowledge.table("raspberry_pi.toml")


def from_revision(code: str) -> RaspberryPi | None:
    """The board with this revision code (hexadecimal, as `Revision` of /proc/cpuinfo), old style or new.

    None for what is no code, for 0 (kernels that were not told write `0000`), and for old codes that were never given.
    """
    digits = _CODE.fullmatch(code.strip())
    number = int(digits.group(1), 16) if digits else 0
    if number & _NEW_FLAG:
        return _new_style(number)
    old = _tables()["old"].get(f"{number & _OLD_CODE:04x}")
    if old is None:
        return None
    model, revision, memory = old
    return RaspberryPi(model, revision, "BCM2835", memory)


def _new_style(number: int) -> RaspberryPi:
    tables = _tables()
    kind, processor, size = (number >> 4) & 0xFF, (number >> 12) & 0xF, (number >> 20) & 0x7
    chips = {entry["code"]: entry["soc"] for entry in tables["processors"]}
    memory = tables["new"]["memory"]
    return RaspberryPi(
        model=tables["types"].get(f"0x{kind:02x}", ""),
        revision=f"1.{number & 0xF}",
        soc=chips.get(processor, ""),
        memory_mb=memory[size] if size < len(memory) else 0,
    )


def from_device_tree(model: str, compatible: Sequence[str]) -> RaspberryPi | None:
    """The board by the device tree's `model` and `compatible`; None if it is no Raspberry Pi.

    The chip is the one named in `compatible` (`brcm,bcm2837`), else the one that the model always has.
    """
    if not any(one.startswith("raspberrypi,") for one in compatible) and not model.startswith("Raspberry Pi"):
        return None
    chips = {entry["soc"].lower(): entry["soc"] for entry in _tables()["processors"]}
    named = [chips[one.removeprefix("brcm,")] for one in compatible if one.removeprefix("brcm,") in chips]
    usual = [_tables()["compatible"][one] for one in compatible if one in _tables()["compatible"]]
    name, _, revision = model.partition(" Rev ")
    return RaspberryPi(name.strip(), revision.strip(), (named + usual + [""])[0])


def identify(code: str, hardware: str, model: str, compatible: Sequence[str]) -> RaspberryPi | None:
    """The board by all that is known of it; None if it is no Raspberry Pi.

    `code` and `hardware` are the last lines of /proc/cpuinfo, `model` and `compatible` the device tree's. The code
    tells the chip best (a Pi 2 has had two), the tree names the model. Other boards have codes, too: one without a
    tree counts only beside a chip's name of this family.
    """
    by_code = from_revision(code)
    if not model and not compatible:
        return by_code if hardware.startswith(("BCM27", "BCM28")) else None
    by_tree = from_device_tree(model, compatible)
    if by_code is None or by_tree is None:
        return by_tree
    return RaspberryPi(
        model=by_tree.model or by_code.model,
        revision=by_code.revision,
        soc=by_code.soc or by_tree.soc,
        memory_mb=by_code.memory_mb,
    )
