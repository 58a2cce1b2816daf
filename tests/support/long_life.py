"""One process that lives long: it offers its storage and pulls, runs and removes, while others beside it are killed.

`python -m support.long_life ROOT ROUNDS IMAGE…` prints a line of JSON about itself after each tenth of the rounds.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import os
import random
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.container.request import RunRequest
from polyarch.errors import PolyarchError, UsageError
from polyarch.serve.server import serving
from polyarch.session import Session
from polyarch.settings import load_settings
from polyarch.verbs.images.prune_choice import PruneRules
from support.forked_commands import ForkedCommands

if TYPE_CHECKING:
    from collections.abc import Iterator

LONGEST = 0.6
"""Seconds after which one beside it is killed at the latest: about what its whole command takes."""


def live(root: Path, images: list[str], rounds: int) -> Iterator[dict[str, int]]:
    """What there is of this process and of its files, after each tenth."""
    source, beside = random.Random(24), ForkedCommands()
    home = root.parent / "beside"
    home.mkdir()
    session = Session(load_settings(root=root, environ={**os.environ, "HOME": str(home)}))
    killed = 0
    with session, serving(session.storage()) as served:  # type: ignore[arg-type]
        for number in range(1, rounds + 1):
            image = source.choice(images)
            (pulled,) = session.pull(image)
            own = {"POLYARCH_ROOT": str(root), **_files()}
            other = {"POLYARCH_ROOT": str(home / "root"), **_files()}
            # One beside pulls what is offered here, one works at the same storage: at some moment they are killed.
            offered = f"{served}/{pulled.name.repository}:{pulled.name.tag}"
            same = source.choice((("pull", "-q", source.choice(images)), ("run", "--rm", image, "busybox", "true")))
            for environ, words in ((other, ("pull", "-q", offered)), (own, same)):
                killed += beside.run(home, words, environ, source.uniform(0.05, LONGEST)).code < 0
            if number % 3 == 0:
                session.run(image, RunRequest(("busybox", "true"), rm=True))
            if number % 5 == 0:
                session.kept.tag(image, f"kept.example/own:{number % 7}")
            if number % 4 == 0:
                with contextlib.suppress(UsageError):  # one beside, just killed, may have a container that still runs
                    session.kept.remove(image, force=True)
                beside.run(home, ("image", "prune", "-a", "-q"), other)
            if number % 10 == 0:
                session.listing()
                session.kept.prune(PruneRules(everything=True))
            with contextlib.suppress(PolyarchError):
                session.pull(f"{served}/not/there:1")
            if number % (rounds // 10) == 0:
                session.kept.prune(PruneRules(everything=True))
                yield {**_about(root), "rounds": number, "killed": killed}
    beside.stop()


def _files() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key.startswith("POLYARCH_")}


def _about(root: Path) -> dict[str, int]:
    """`memory` is what is used: what is free in the heap has been given back before. `blocks` are Python's own, of all
    objects.
    """
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    return {
        "blocks": sys.getallocatedblocks(),
        "memory": int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE"),
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        # The server's pool has as many as were wanted at once in the last seconds, 40 at most.
        "threads": sum(not thread.name.startswith("AnyIO worker") for thread in threading.enumerate()),
        "mounts": sum(str(root) in line for line in Path("/proc/self/mountinfo").read_text().splitlines()),
        "files": sum(len(folders) + len(files) for _, folders, files in os.walk(root)),
        "lease": sum(path.stat().st_size for path in (root / "oci/.polyarch/leases").iterdir()),
        "children": sum(len(path.read_text().split()) for path in Path("/proc/self/task").glob("*/children")),
    }


if __name__ == "__main__":
    for seen in live(Path(sys.argv[1]), sys.argv[3:], int(sys.argv[2])):
        print(json.dumps(seen), flush=True)
