"""The target of a platform asked for by name."""

from __future__ import annotations

from polyarch.selection.types import Target
from polyarch_platforms.architecture import get
from polyarch_platforms.compatibility import asked
from polyarch_platforms.device import Device
from polyarch_platforms.platform import Platform


def target_for_platform(platform: Platform, host: Device | None) -> Target:
    """What `--platform` asks for: the platform, what it includes, and what its architecture's CPUs may run besides.

    A second architecture (arm beside arm64, 386 beside amd64) needs a proof. If `host` can run it, it is native;
    else, if the host has an emulator for it, emulated; without either it is no answer to what was asked.
    """
    native = list(asked(platform))
    emulated = []
    architecture = get(platform.architecture)
    if host is not None and architecture is not None:
        native += [also for also in host.native if also.architecture in architecture.may_run]
        runs = {also.architecture for also in native}
        emulated = [
            emulation
            for emulation in host.emulated
            if emulation.platform.architecture in architecture.may_run and emulation.platform.architecture not in runs
        ]
    return Target(str(platform), platform, tuple(native), tuple(emulated))
