"""A long life in short: what rounds of pulls and removals leave behind in a process is counted, object by object."""

from __future__ import annotations

import contextlib
import gc
from collections import Counter
from pathlib import Path

import pytest

from polyarch.errors import NotFoundError
from polyarch.session import Session
from polyarch.settings import load_settings
from polyarch.verbs.images.prune_choice import PruneRules
from support.docker_registry import DockerRegistry

pytestmark = pytest.mark.system
ROUNDS = 3
STEPS = 8
"""What is made once and kept is there after some rounds; what each round leaves is left in every step."""


def test_a_round_leaves_no_object_behind(registry: DockerRegistry, tmp_path: Path) -> None:
    image, absent = registry.ref("busybox:1.36"), registry.ref("not/there:1")
    session = Session(load_settings(root=tmp_path / "root", environ={"HOME": str(tmp_path)}))

    def live() -> None:
        session.pull(image, platform="linux/amd64")
        session.pull(image, platform="linux/amd64")
        with contextlib.suppress(NotFoundError):
            session.pull(absent)
        session.kept.tag(image, "kept.example/own:1")
        session.listing()
        session.kept.remove(image, force=True)
        session.kept.prune(PruneRules(everything=True))

    def objects() -> Counter[str]:
        gc.collect()
        return Counter(f"{type(each).__module__}.{type(each).__qualname__}" for each in gc.get_objects())

    with session:
        before = objects()
        for _ in range(STEPS):
            for _ in range(ROUNDS):
                live()
            now = objects()
            more, before = now - before, now
            if sum(more.values()) < ROUNDS:
                return
    pytest.fail(f"a round leaves something behind: {more}")
