"""Takes QEMU from the image that the setting `qemu_image` names, where this machine has none."""

from __future__ import annotations

from collections.abc import Iterable

from polyarch.contract import EmulatorPlugin, EmulatorServices, EmulatorSource, hookimpl


def _source(services: EmulatorServices) -> EmulatorSource:
    from polyarch_plugins.emulators.qemu_image.source import ImageQemu

    return ImageQemu(services.image, services.image_files)


@hookimpl
def polyarch_emulators() -> Iterable[EmulatorPlugin]:
    """One source."""
    return [EmulatorPlugin("qemu-image", "QEMU user-mode emulators out of an image (setting qemu_image)", _source)]
