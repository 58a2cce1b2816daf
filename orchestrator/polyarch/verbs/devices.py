"""This machine and others as devices."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from polyarch.container.emulation import private_refusal
from polyarch.contract.others import EmulatorSource, FetchesEmulators
from polyarch.errors import UsageError
from polyarch_platforms import architecture
from polyarch_platforms.device import MAX_TEXT, Device, Emulation, from_json
from polyarch_platforms.named import named
from polyarch_platforms.platform import Platform


def with_emulators(device: Device, sources: Sequence[EmulatorSource]) -> Device:
    """`device`, which is this machine, with every emulator that is registered in its kernel or that `sources` have."""
    return replace(device, emulated=emulations(device, sources))


def emulations(device: Device, sources: Sequence[EmulatorSource]) -> tuple[Emulation, ...]:
    """What `device` can emulate, cheapest first: what its programs' own family comes nearest to.

    What its kernel has registered stays so; for the rest, what `sources` have, or can fetch, is arranged by polyarch:
    `private` where a private table is possible, else `explicit`.
    """
    native = {platform.architecture for platform in device.native}
    registered = {emulation.platform.architecture: emulation for emulation in device.emulated}
    found = []
    for name, known in architecture.load().items():
        emulation = registered.get(name)
        if emulation is None and name not in native:
            emulator = next((where for source in sources if (where := _where(source, name))), None)
            if emulator is not None:
                how: Literal["private", "explicit"] = "private" if private_refusal() is None else "explicit"
                emulation = Emulation(Platform("linux", name, known.default_variant), emulator, how)
        if emulation is not None:
            found.append(emulation)
    return tuple(sorted(found, key=lambda emulation: _distance(emulation.platform.architecture, native)))


def _where(source: EmulatorSource, name: str) -> str:
    """Where a source has the emulator for an architecture, or would bring it from; "" if neither."""
    if binary := source.find(name):
        return str(binary.path)
    return source.offers(name) if isinstance(source, FetchesEmulators) else ""


def _distance(name: str, native: set[str]) -> int:
    """0 for the other architecture of a native one's family (386 on amd64), 1 for 64-bit little-endian, 2 for all."""
    known = architecture.load()[name]
    families = [also for own in native if (also := architecture.get(own))]
    if any(name in also.may_run or also.name in known.may_run for also in families):
        return 0
    return 1 if known.elf_class == 64 and known.elf_data == "little" else 2


def device_from(name: str) -> Device:
    """The device of a file, if `name` is one, else the one that is known by that name.

    Raises UsageError, DeviceError.
    """
    path = Path(name)
    if "/" not in name and not path.is_file():
        return named(name)
    try:
        with path.open("rb") as stream:
            raw = stream.read(MAX_TEXT + 1)
    except OSError as error:
        raise UsageError(
            f"device file {name}: {error.strerror}", "write one with: polyarch device --format json"
        ) from error
    device = from_json(raw.decode("utf-8", "replace"))
    return device if device.name else replace(device, name=path.stem)
