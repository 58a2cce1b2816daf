"""What selection works on and what it answers."""

from __future__ import annotations

from typing import Literal, TypeAlias

from polyarch.oci.descriptor import Descriptor
from polyarch.reference import Reference
from polyarch_platforms.device import Device, Emulation
from polyarch_platforms.lazy_dataclass import dataclass
from polyarch_platforms.platform import Platform

Match: TypeAlias = Literal["exact", "compatible", "emulated"]
Source: TypeAlias = Literal["index", "tag", "manifest"]
EmulationPolicy: TypeAlias = Literal["auto", "never"]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A variant that exists.

    `platform` is what the index entry or the config states, None if neither says. `reference` is the name it was found
    under. `source` tells how: an entry of an index, a tag or name by a convention, or the only manifest of the name.
    `size` is the bytes of config and layers, None where the manifest was not read.
    """

    platform: Platform | None
    manifest: Descriptor
    reference: Reference
    source: Source
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """What a variant is chosen for.

    `platform` is what its own programs are, or what was asked for; `native` is best first, `emulated` cheapest first.
    `here` says that it is this machine, where an emulator could still be installed.
    """

    name: str
    platform: Platform
    native: tuple[Platform, ...]
    emulated: tuple[Emulation, ...] = ()
    here: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a candidate.

    `match` is how it would run, None if not at all: `exact` is the target's own platform or a higher level of it.
    `refused` is None for the chosen one and one sentence for each other. `unproven`: the entry states no variant, and
    only its ELF can tell. `lacks_emulator`: QEMU could run it here if it were installed.
    """

    candidate: Candidate
    match: Match | None
    unproven: bool = False
    emulator: str | None = None
    refused: str | None = None
    lacks_emulator: bool = False


@dataclass(frozen=True, slots=True)
class Selection:
    """All verdicts in the order of the candidates, and the usable ones best first (the first is the chosen one)."""

    target: Target
    policy: EmulationPolicy
    verdicts: tuple[Verdict, ...]
    ranked: tuple[Verdict, ...]

    @property
    def chosen(self) -> Verdict | None:
        """The best usable candidate."""
        return self.ranked[0] if self.ranked else None


def target_of(device: Device, *, here: bool = False) -> Target:
    """The target that a device is."""
    return Target(device.name or str(device.platform), device.platform, device.native, device.emulated, here)
