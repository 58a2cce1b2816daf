"""Finds QEMU where Linux distributions install it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from polyarch.contract import QemuBinary, architecture_named, find_qemu


class HostQemu:
    """An EmulatorSource: QEMU's user-mode emulators in `directories`, else in PATH and in the usual folders."""

    def __init__(self, directories: Sequence[Path] = ()) -> None:
        self._directories = directories

    def find(self, architecture: str) -> QemuBinary | None:
        """The best emulator for programs of `architecture`, a static one before others; None where there is none."""
        known = architecture_named(architecture)
        if known is None:
            return None
        return (find_qemu(known, self._directories) if self._directories else None) or find_qemu(known)
