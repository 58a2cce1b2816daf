"""Giving images up and taking them elsewhere: `image rm`, `prune`, `save`, `load`."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry, skopeo

pytestmark = pytest.mark.system

needs_runtime = pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is there")


@pytest.fixture
def busybox(polyarch: Polyarch, registry: DockerRegistry) -> str:
    """The name of an image at hand."""
    name = registry.ref("busybox:1.36")
    polyarch("pull", "--platform", "linux/amd64", name).ok()
    return name


def names(polyarch: Polyarch) -> set[str]:
    """What is at hand, by name."""
    lines = polyarch("image", "ls", "--format", "json").ok().json_lines
    return {f"{line['repository']}:{line['tag']}" for line in lines}


def files_below(path: Path) -> set[str]:
    """The names in a folder; none where there is none."""
    return {each.name for each in path.iterdir()} if path.is_dir() else set()


def blobs(polyarch: Polyarch) -> set[str]:
    return files_below(polyarch.root / "oci" / "blobs" / "sha256")


def snapshots(polyarch: Polyarch) -> set[str]:
    folder = polyarch.root / "snapshots"
    return {name for each in files_below(folder) - {"locks"} for name in files_below(folder / each)}


def test_one_of_several_names_is_only_untagged(polyarch: Polyarch, busybox: str) -> None:
    polyarch("image", "tag", busybox, "mine:1").ok()
    before = blobs(polyarch)
    result = polyarch("image", "rm", "mine:1").ok()
    assert result.stdout == "Untagged: mine:1\n"
    assert blobs(polyarch) == before
    assert names(polyarch) == {busybox}


def test_an_image_with_several_names_goes_by_id_only_by_force(polyarch: Polyarch, busybox: str) -> None:
    polyarch("image", "tag", busybox, "mine:1").ok()
    [short] = polyarch("images", "-q").ok().stdout.split()
    refused = polyarch("image", "rm", short)
    assert refused.code == 2
    assert "has several names" in refused.stderr
    assert "--force" in refused.stderr
    result = polyarch("image", "rm", "-f", short[:6]).ok()
    assert "Untagged: mine:1\n" in result.stdout
    assert names(polyarch) == set()
    assert blobs(polyarch) == set()


@needs_runtime
def test_what_a_container_uses_stays(polyarch: Polyarch, busybox: str) -> None:
    polyarch("run", "--name", "web", busybox, "true").ok()
    before = blobs(polyarch)
    [short] = polyarch("images", "-q").ok().stdout.split()
    for word in (busybox, short):
        refused = polyarch("image", "rm", word)
        assert refused.code == 2
        assert "the container web stands on it" in refused.stderr
        assert "polyarch rm web" in refused.stderr
    [line] = polyarch("image", "prune", "--all", "--format", "json").ok().json_lines or [None]
    assert line is None
    assert polyarch("image", "rm", "-f", busybox).ok().stdout == f"Untagged: {busybox}\n"
    assert names(polyarch) == {"localhost/unnamed:None"}
    refused = polyarch("image", "rm", "-f", short)
    assert (refused.code, "polyarch rm web" in refused.stderr) == (2, True)
    polyarch("image", "prune", "--all").ok()
    assert blobs(polyarch) == before, "a container needs its image's blobs for commit"
    assert polyarch("verify", short).ok()
    polyarch("rm", "web").ok()
    assert snapshots(polyarch)
    result = polyarch("image", "prune").ok()
    assert "Untagged: localhost/unnamed@sha256:" in result.stdout
    assert "Total reclaimed space: 0B" not in result.stdout
    assert (blobs(polyarch), snapshots(polyarch), names(polyarch)) == (set(), set(), set())
    assert files_below(polyarch.root / "snapshots" / "locks") == {"prune"}


@needs_runtime
def test_the_image_of_a_running_container_keeps_its_name(polyarch: Polyarch, busybox: str) -> None:
    polyarch("run", "-d", "--name", "web", busybox, "sleep", "60").ok()
    refused = polyarch("image", "rm", "-f", busybox)
    assert refused.code == 2
    assert "polyarch rm -f web" in refused.stderr
    assert names(polyarch) == {busybox}
    polyarch("rm", "-f", "web").ok()
    polyarch("image", "rm", busybox).ok()
    assert (blobs(polyarch), snapshots(polyarch)) == (set(), set()), "unpacked layers go with their image"


def test_an_image_whose_name_moved_is_there_until_it_is_pruned(polyarch: Polyarch, registry: DockerRegistry) -> None:
    first, second = registry.ref("busybox:1.36"), registry.ref("moving:1")
    registry.copy("busybox:1.36", "moving:1")
    polyarch("pull", "--platform", "linux/arm64", second).ok()
    registry.copy("busybox:1.35", "moving:1")
    polyarch("pull", "--platform", "linux/arm64", second).ok()
    assert names(polyarch) == {second, "localhost/unnamed:None"}
    told = polyarch("image", "prune", "--dry-run", "--format", "json").ok().json_lines
    assert {line["kind"] for line in told} == {"image", "blob"}
    assert names(polyarch) == {second, "localhost/unnamed:None"}
    assert polyarch("image", "prune", "--format", "json").ok().json_lines == told
    assert names(polyarch) == {second}
    polyarch("pull", "--platform", "linux/arm64", first).ok()
    polyarch("verify", second).ok()
