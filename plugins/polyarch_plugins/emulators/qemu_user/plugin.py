"""Registers the host's own QEMU, from the packages `qemu-user-static` or `qemu-user`."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import EmulatorPlugin, EmulatorServices, EmulatorSource, hookimpl


def _source(services: EmulatorServices) -> EmulatorSource:
    from polyarch_plugins.emulators.qemu_user.source import HostQemu

    return HostQemu(services.directories)


@hookimpl
def polyarch_emulators() -> Iterable[EmulatorPlugin]:
    """One source."""
    return [EmulatorPlugin("qemu-user", "QEMU user-mode emulators installed on this host", _source)]
