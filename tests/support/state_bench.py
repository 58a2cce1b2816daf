"""A client on a small disk of its own before a registry that can be held: where `support.state_cases` are run."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.docker_registry import DockerRegistry
from support.processes import await_true
from support.small_disk import SmallDisk
from support.state_clients import Client, Done

LAYER = 64 << 20
"""Bytes of the layer that is broken off."""
SETTLED = 1.0
"""Seconds in which a client writes down what has come."""


@dataclass(frozen=True, slots=True)
class Content:
    """What an image is made of: digests, and the digest of its large file."""

    manifest: str
    config: str
    layer: str
    diff_ids: Sequence[str]
    file: str


class Bench:
    """A client on a new disk, before a registry that can be held."""

    def __init__(
        self,
        disk: SmallDisk,
        make: Callable[[int], Client],
        registry: DockerRegistry,
        empty: DockerRegistry,
        images: Mapping[str, Content],
        clean: int,
    ) -> None:
        self.disk, self.registry, self.empty, self.images, self.clean = disk, registry, empty, images, clean
        self._make = make
        self.client = make(-1)
        self.relay = self.client.relay

    def with_umask(self, umask: int) -> None:
        """All anew, with that umask."""
        self.client.stop()
        shutil.rmtree(self.client.data, ignore_errors=True)
        self.client = self._make(umask)

    def must(self, words: Sequence[str | Path], stdin: str = "") -> Done:
        done = self.client.do(words, stdin)
        assert done.code == 0, f"{self.client.name}: {' '.join(map(str, words))}: {done}"
        return done

    @contextlib.contextmanager
    def midway(self) -> Iterator[subprocess.Popen[bytes]]:
        """A pull of `app` of which half of the large layer has come, and no more comes."""
        self.relay.hold(LAYER // 2)
        child = self.client.begin(self.client.pull("app"))
        try:
            await_true(lambda: self.relay.held.is_set() or child.poll() is not None, "half has come", 60)
            assert child.poll() is None, child.communicate()
            time.sleep(SETTLED)
            yield child
        finally:
            self.relay.let_go()
            if child.poll() is None:
                child.kill()
            child.communicate()


def told(bench: Bench, what: object) -> None:
    """What the words of an answer rest on."""
    print(f"    {bench.client.name}: {what}", flush=True)


def brief(done: Done) -> str:
    return f"{done.code} {' / '.join(done.text.strip().splitlines()[-2:])[-300:]}"
