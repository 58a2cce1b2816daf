"""What plugins cost that are installed and not used."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.bench import QUICK_FACTOR, Bench, Turn, alternating
from benchmarks.process import measured
from benchmarks.result import Case, Figure, median

COUNT = 30
MOST_MILLISECONDS = 20
_SOURCE = """\
from polyarch.contract import RegistryPlugin, StoragePlugin, hookimpl


def made(services):
    raise RuntimeError("nobody uses it")


@hookimpl
def polyarch_registries():
    yield RegistryPlugin("{name}", "a registry", made, hosts=("{name}.example",), schemes=("{name}",))


@hookimpl
def polyarch_storages():
    yield StoragePlugin("{name}", "a storage", made)
"""


def plugins(bench: Bench) -> Case:
    """`resolve` with 30 installed plugins, and without, in turns: what they are is remembered from a run before."""
    site, empty = bench.work / "site", bench.work / "no-plugins"
    empty.mkdir()
    install(site)

    def command(site: Path, turn: Turn | None = None) -> Sequence[str]:
        root = bench.work / f"root-{site.name}"
        return ("env", f"PYTHONPATH={site}", *bench.polyarch(root, "resolve", bench.origin.reference))

    def anew(turn: Turn) -> Sequence[str]:
        return ("env", f"PYTHONPATH={site}", *bench.polyarch(turn.folder, "resolve", bench.origin.reference))

    without, with_them, unknown = "polyarch resolve", f"with {COUNT} plugins", f"with {COUNT} plugins, not remembered"
    turns = {without: partial(command, empty), with_them: partial(command, site), unknown: anew}
    for place in (empty, site):
        (bench.work / f"root-{place.name}").mkdir()
        measured(command(place), bench.environment)
    contenders = alternating(bench, turns, bench.runs * QUICK_FACTOR)
    pairs = zip(contenders[without], contenders[with_them], strict=True)
    added = statistics.median(more.seconds - less.seconds for less, more in pairs) * 1000
    quickest = [min(run.seconds for run in contenders[name]) for name in (without, with_them)]
    first = (median(contenders[unknown]) - median(contenders[without])) * 1000
    return Case(
        f"{COUNT} installed plugins",
        contenders,
        [Figure("what they add to resolve", added, MOST_MILLISECONDS, " ms")],
        [
            f"the quickest runs of both are {(quickest[1] - quickest[0]) * 1000:.1f} ms apart",
            f"the first time, when nothing is remembered: {first:.0f} ms",
        ],
    )


def install(site: Path) -> None:
    """Put the plugins into a folder as an installer leaves them, an hour ago."""
    for number in range(COUNT):
        name = f"plugin{number}"
        metadata = site / f"polyarch_{name}-1.0.dist-info"
        metadata.mkdir(parents=True)
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: polyarch-{name}\nVersion: 1.0\n")
        (metadata / "entry_points.txt").write_text(f"[polyarch.v1]\n{name} = polyarch_{name}\n")
        (site / f"polyarch_{name}.py").write_text(_SOURCE.format(name=name))
    moment = time.time() - 3600
    for path in (site, *site.rglob("*")):
        os.utime(path, (moment, moment))
