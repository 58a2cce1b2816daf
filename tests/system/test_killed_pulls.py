"""Pulls killed by SIGKILL at random moments: the next one goes on, and no byte is wrong or fetched twice.

The pull that is killed asks for the same image under another name, because blobs are what is resumed.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from polyarch.oci.digest import digest_of
from polyarch.testing.layout_writer import LayoutWriter, regular
from support.command import Polyarch
from support.docker_registry import Access, DockerRegistry, skopeo
from support.layout_files import Layout
from support.processes import await_true

pytestmark = [pytest.mark.system, pytest.mark.soak]

LAYERS = 6
LAYER_SIZE = 8 << 20
SEED = 20


@pytest.fixture(scope="module")
def heavy(registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The name of an image of some 50 MB that does not compress, so that a kill can meet its transfer."""
    writer = LayoutWriter(tmp_path_factory.mktemp("heavy") / "layout")
    source = random.Random(SEED)
    layers = [
        writer.layer([regular(f"data/{i}", source.randbytes(LAYER_SIZE + i * 1000))], f"layer {i}")
        for i in range(LAYERS)
    ]
    image = writer.image({"os": "linux", "architecture": "amd64"}, layers)
    for name in ("heavy:1.0", "killed:1.0"):
        writer.name(name, image)
    writer.finish()
    registry.fill(Layout(writer.directory))
    return registry.ref("heavy:1.0")


def whole_blobs(root: Path) -> set[str]:
    """The digests of the blobs at hand, each of them read and right."""
    folder = root / "oci" / "blobs" / "sha256"
    found = set()
    for path in folder.iterdir() if folder.is_dir() else ():
        if len(path.name) == 64:
            assert digest_of(path.read_bytes()) == f"sha256:{path.name}", f"{path} is not what its name says"
            found.add(f"sha256:{path.name}")
    return found


def partial_sizes(root: Path) -> dict[str, int]:
    """Bytes at hand of blobs that are not whole."""
    folder = root / "oci" / ".polyarch" / "partial"
    sizes = {}
    for path in folder.iterdir() if folder.is_dir() else ():
        with suppress(FileNotFoundError):  # just renamed into its place
            sizes[f"sha256:{path.name[-64:]}"] = path.stat().st_size
    return sizes


def blob_requests(log: list[Access]) -> dict[str, list[Access]]:
    """What was asked of the name that is not killed; a broken request is logged late, so names tell them apart."""
    requests: dict[str, list[Access]] = {}
    for access in log:
        if access.method == "GET" and access.path.startswith("/v2/heavy/blobs/"):
            requests.setdefault(access.path.rpartition("/")[2], []).append(access)
    return requests


def test_killed_pulls_lose_no_byte_and_leave_no_wrong_one(
    polyarch: Polyarch, registry: DockerRegistry, heavy: str, tmp_path: Path, count: Callable[[int, int], int]
) -> None:
    chance = random.Random(SEED)
    met = 0
    for turn in range(count(7, 1000)):
        root = tmp_path / f"root-{turn}"
        process = polyarch.start("pull", "--progress", "none", heavy.replace("/heavy:", "/killed:"), root=root)
        if turn % 3:  # most kills shall meet the transfer itself
            await_true(
                lambda root=root, process=process: bool(partial_sizes(root)) or process.poll() is not None, "bytes"
            )
            time.sleep(chance.uniform(0, 0.04))
        else:
            time.sleep(chance.uniform(0, 0.6))
        with suppress(ProcessLookupError):  # it was quicker
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        whole, partial = whole_blobs(root), partial_sizes(root)
        met += bool(partial) and any(partial.values())
        before = len(registry.access_log())
        [line] = polyarch("pull", "--format", "json", heavy, root=root).ok().json_lines
        asked = blob_requests(registry.access_log()[before:])
        assert not whole & set(asked), "a finished blob was fetched again"
        for layer in line["layers"]:
            came = sum(access.size for access in asked.get(layer["digest"], []))
            wanted = 0 if layer["digest"] in whole else layer["size"] - partial.get(layer["digest"], 0)
            assert came == wanted, f"{came} bytes came of {layer}, {wanted} were missing"
        assert {layer["digest"] for layer in line["layers"]} <= whole_blobs(root)
        assert not any(partial_sizes(root).values())
        assert skopeo("inspect", f"oci:{root}/oci:{heavy}")
        for path in sorted(root.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() else path.unlink()
    assert met > count(7, 1000) // 4, "too few kills met a transfer to say anything"
