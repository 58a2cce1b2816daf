"""Finds QEMU where Linux distributions install it."""

from __future__ import annotations

from polyarch.contract import QemuBinary
from polyarch_platforms import architecture as architectures
from polyarch_platforms import qemu


class HostQemu:
    """An EmulatorSource: QEMU's user-mode emulators in PATH and in the usual folders."""

    def find(self, architecture: str) -> QemuBinary | None:
        """The best emulator for programs of `architecture`, a static one before others; None where there is none."""
        known = architectures.get(architecture)
        return qemu.find(known) if known else None
