"""Two hundred pulls of one image that begin at the same moment, into one storage: each blob comes once."""

from __future__ import annotations

import collections
import json
import os
import random
import subprocess
import sys
from collections.abc import Callable

import pytest

from polyarch.testing.layout_writer import LayoutWriter, regular
from support.command import NO_FILES_OF_THE_MACHINE, Polyarch
from support.docker_registry import DockerRegistry
from support.figures import Figures
from support.layout_files import Layout

pytestmark = [pytest.mark.system, pytest.mark.soak]
LAYERS = 5
LAYER_SIZE = 4 << 20
MOST_MEMORY = 64 << 20

# Forks so many pulls, which begin when all are there; how each of them ended, the memory that they took, and their CPU.
MOTHER = """
import json, os, sys
from polyarch.cli import main
import polyarch.cli.app, polyarch.cli.commands.pull, polyarch.session

number, reference, platform = int(sys.argv[1]), *sys.argv[2:]
gate, opener = os.pipe()
children = []
for i in range(number):
    if (child := os.fork()) == 0:
        os.close(opener)
        os.read(gate, 1)
        sys.argv = ["polyarch", "--progress", "none", "pull", "-q", "--platform", platform, reference]
        os.dup2(2, 1)
        try:
            main()
        except SystemExit as end:
            os._exit(end.code or 0)
    children.append(child)
os.close(opener)
codes, memory, cpu = [], [], 0.0
for child in children:
    _, status, usage = os.wait4(child, 0)
    codes.append(os.waitstatus_to_exitcode(status))
    memory.append(usage.ru_maxrss * 1024)
    cpu += usage.ru_utime + usage.ru_stime
print(json.dumps({"codes": codes, "memory": memory, "cpu": cpu}))
"""


@pytest.fixture(scope="module")
def image(registry: DockerRegistry, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The repository of an image of some 20 MB that does not compress."""
    writer = LayoutWriter(tmp_path_factory.mktemp("at-once") / "layout")
    source = random.Random(200)
    layers = [writer.layer([regular(f"data/{i}", source.randbytes(LAYER_SIZE))], f"layer {i}") for i in range(LAYERS)]
    platform = {"os": "linux", "architecture": "arm64"}
    writer.name("at-once:1.0", writer.index([{**writer.image(platform, layers), "platform": platform}]))
    writer.finish()
    registry.fill(Layout(writer.directory))
    return "at-once:1.0"


def test_two_hundred_pulls_at_once_fetch_each_blob_once(
    image: str, polyarch: Polyarch, registry: DockerRegistry, figures: Figures, count: Callable[[int, int], int]
) -> None:
    number = count(12, 200)
    before = len(registry.access_log())
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(polyarch.root.parent),
        "LANG": "C.UTF-8",
        "POLYARCH_ROOT": str(polyarch.root),
        **NO_FILES_OF_THE_MACHINE,
    }
    argv = [sys.executable, "-c", MOTHER, str(number), registry.ref(image), "linux/arm64"]
    done = subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=540)
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["codes"] == [0] * number, done.stderr
    requests = registry.access_log()[before:]
    fetched = collections.Counter(access.blob for access in requests if access.blob)
    assert len(fetched) == LAYERS + 1
    assert set(fetched.values()) == {1}
    assert max(said["memory"]) <= MOST_MEMORY
    polyarch("verify", registry.ref(image)).ok()
    for folder in ("partial", "leases"):
        assert list((polyarch.root / "oci" / ".polyarch" / folder).iterdir()) == []
    most, cpu = max(said["memory"]) / 1e6, said["cpu"]
    figures(f"{number} pulls at once: downloads of each of {len(fetched)} blobs", "1", "1")
    figures(f"{number} pulls at once: memory of the largest; CPU of all", f"{most:.0f} MB; {cpu:.0f} s", "64 MiB")
    figures(f"{number} pulls at once: requests to the registry", str(len(requests)))
