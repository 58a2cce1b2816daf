"""What the host has to run foreign programs with: the private emulation joined with what the platforms know of QEMU."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from polyarch.container.emulation import find_emulators, native_architectures, private_refusal, register_privately
from polyarch.container.id_maps import as_root, same_ids
from polyarch.container.launch import call_inside
from polyarch.contract.others import EmulatorSource
from polyarch.errors import HostError
from polyarch_platforms import binfmt
from polyarch_platforms.architecture import load
from polyarch_platforms.device import Device
from polyarch_platforms.emulators import Private
from polyarch_platforms.errors import QemuError
from polyarch_platforms.qemu import QemuBinary

T = TypeVar("T")

_MEND = "apt install qemu-user-static"


def private_emulation(device: Device, sources: Sequence[EmulatorSource]) -> Private:
    """The private emulation that `run` and `emulate` give here."""
    emulators = find_emulators(native_architectures(device), sources)
    return Private(emulators, partial(_inside, emulators))


def emulated(private: Private) -> list[str]:
    """The architectures that there is a private emulator or an entry of the kernel's for. Raises HostError if none."""
    entries = [replace(entry, enabled=True) for entry in binfmt.registrations()]
    found = [name for name, one in load().items() if name in private.emulators or binfmt.matching(entries, one)]
    if not found:
        raise HostError("there is no emulator here, and nothing is registered", _MEND)
    return found


def installable(device: Device, sources: Sequence[EmulatorSource]) -> list[str]:
    """The foreign architectures that there is an emulator for. Raises HostError if there is none."""
    found = find_emulators(native_architectures(device), sources)
    if not found:
        raise HostError("there is no static QEMU here to install", _MEND)
    return list(found)


def _inside(emulators: Mapping[str, QemuBinary], action: Callable[[], T], /) -> T:
    """Calls `action` in a process with a private emulation. Raises QemuError where there can be none."""
    if refusal := private_refusal():
        raise QemuError(f"only single programs can be emulated: {refusal.message}", refusal.hint)
    answer = os.memfd_create("answer", os.MFD_CLOEXEC)
    try:

        def function() -> None:
            register_privately(dict(emulators))
            with os.fdopen(answer, "wb", closefd=False) as file:
                pickle.dump(action(), file)

        try:
            call_inside(same_ids() if os.geteuid() == 0 else as_root(), function)
        except HostError as error:
            raise QemuError(error.message, error.hint) from error
        os.lseek(answer, 0, os.SEEK_SET)
        with os.fdopen(answer, "rb", closefd=False) as file:
            found: T = pickle.load(file)
        return found
    finally:
        os.close(answer)
