"""What works on this machine, what does not, and the command that mends it.

What containers need is really tried: namespaces are made, an overlay is mounted, foreign programs run. All of it is
gone when the check is done.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from polyarch.contract.others import EmulatorSource, Verifier
from polyarch.contract.storage import Storage
from polyarch.errors import PolyarchError
from polyarch.plugin_host.host import PluginHost
from polyarch.settings import Settings
from polyarch.verbs.doctor import (
    containers,
    contents,
    emulation,
    layers,
    machine,
    mirrors,
    namespaces,
    place,
    policy,
    programs,
    registries,
)
from polyarch.verbs.doctor.check import Check as Check
from polyarch.verbs.doctor.check import refused
from polyarch_platforms.device import Device


def checks(
    settings: Settings,
    plugins: PluginHost,
    sources: Sequence[EmulatorSource],
    device: Callable[[], Device],
    storage: Callable[[], Storage],
    verifiers: Callable[[], Sequence[Verifier]],
) -> tuple[Check, ...]:
    """Every check, in the order in which the main job needs what they look at.

    The network comes last: the trials fork, and want no other thread beside them.
    """
    return tuple(_checks(settings, plugins, sources, device, storage, verifiers))


def _checks(
    settings: Settings,
    plugins: PluginHost,
    sources: Sequence[EmulatorSource],
    device: Callable[[], Device],
    storage: Callable[[], Storage],
    verifiers: Callable[[], Sequence[Verifier]],
) -> Iterator[Check]:
    root = os.geteuid() == 0
    here: Device | None = None
    try:
        here = device()
        yield machine.machine(here)
    except PolyarchError as error:
        yield refused("device", error, essential=True)
    yield machine.python()
    yield from machine.plugins(plugins.problems)
    yield from machine.plugins_of_settings(settings.options, plugins)

    inside = contents.look_into(settings.root, storage)
    where = place.look_at(settings.root)

    def elsewhere() -> Path | None:
        return place.serving(settings.home)

    stored = place.judge_place(where, inside.prunable, elsewhere)
    yield stored
    yield inside.check
    yield containers.containers(settings.root)

    made = list(namespaces.namespaces(root))
    yield from made
    lacking = "namespaces" if made[0].verdict != "ok" else "a storage that can be written"
    if made[0].verdict != "ok" or stored.verdict == "failed":
        yield Check("overlay", "skipped", f"it needs {lacking}")
        yield Check("layers", "skipped", f"they need {lacking}")
    else:
        yield place.overlay(where, elsewhere)
        yield layers.layers(settings, where.there)
    yield namespaces.subordinate_ids(root, made[-1].verdict == "ok")
    yield namespaces.cgroups(root)
    yield programs.runtime(settings)
    yield programs.system_calls(settings)

    if here is not None:
        yield from emulation.emulators(here, sources)
        yield emulation.private_emulation(here, sources, made[-1].verdict == "ok")
        yield from emulation.registered(here, sources)
    yield from machine.decompression()
    yield from programs.engines(settings)
    known, names = registries.credentials(settings)
    yield from known
    yield from mirrors.mirrors(settings)
    yield policy.policy(verifiers)
    yield from registries.registries(settings, plugins, names)
