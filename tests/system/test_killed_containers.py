"""Containers killed at random moments: the command, what stays with them, the runtime, the program. Nothing is left."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.leftovers import Leftovers
from support.processes import await_true
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.soak,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]
AT_ONCE = 4
LATEST = 0.7  # seconds; a container needs about half of that to start


@pytest.mark.parametrize("who", ["root", "ordinary user"])
def test_nothing_is_left(
    who: str,
    request: pytest.FixtureRequest,
    polyarch: Polyarch,
    registry: DockerRegistry,
    tmp_path: Path,
    count: Callable[[int, int], int],
) -> None:
    if who == "root" and os.geteuid() != 0:
        pytest.skip("these tests do not run as root")
    user: OrdinaryUser | None = None if who == "root" else request.getfixturevalue("unprivileged_user")
    root = (user.home if user else tmp_path) / "killed-root"
    left, image = Leftovers(root), f"{registry.address}/busybox:1.36"
    before = mounts()
    for platform in ("linux/amd64", "linux/arm64"):
        polyarch("run", "--rm", "--platform", platform, image, "true", root=root, user=user).ok()
    chance = random.Random(f"{who} 4")
    killed, identifiers = 0, set[str]()
    for _ in range(count(8, 100) // AT_ONCE):
        started = [start(chance, polyarch, image, root, user) for _ in range(AT_ONCE)]
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):  # it is what it is at this moment
                process.wait(chance.uniform(0, LATEST) / AT_ONCE)
            identifiers |= {path.name for path in left.containers()}
            killed += kill_one(chance, process, left)
        for process in started:
            if process.poll() is None:
                process.kill()
            process.communicate()
    assert killed >= count(8, 100) // 2
    names = polyarch("ps", "-aq", root=root, user=user).ok().stdout.split()
    if names:
        polyarch("rm", "-f", *names, root=root, user=user).ok()
    await_true(lambda: not left.processes(), "all processes of the containers have ended")
    assert left.containers() == []
    assert polyarch("ps", "-aq", root=root, user=user).ok().stdout == ""
    assert left.groups(identifiers) == []
    assert mounts() == before


def start(
    chance: random.Random, polyarch: Polyarch, image: str, root: Path, user: OrdinaryUser | None
) -> subprocess.Popen[str]:
    options = [word for word in ("-d", "--rm") if chance.random() < 0.5]
    platform = chance.choice(["linux/amd64", "linux/arm64"])
    words = ("--progress", "none", "run", *options, "--platform", platform, image, "sh", "-c", "sleep 60 & wait")
    return polyarch.start(*words, root=root, user=user)


def kill_one(chance: random.Random, process: subprocess.Popen[str], left: Leftovers) -> int:
    """Kill the command, or a random one of the processes that have come of all of them; whether there was one."""
    runtimes = left.named("crun") + left.named("runc")
    kinds = {
        "command": [process.pid] if process.poll() is None else left.named("monitor.py"),
        "monitor": left.named("monitor.py"),
        "runtime": runtimes,
        "program": left.children(runtimes),
    }
    victims = kinds[chance.choice(list(kinds))] or kinds["command"]
    if not victims:
        return 0
    try:
        os.kill(chance.choice(victims), signal.SIGKILL)
    except ProcessLookupError:
        return 0
    return 1


def mounts() -> list[str]:
    """What is mounted where, without podman's of other tests and their disks (polyarch mounts no ext4); the numbers of
    mounts change.
    """
    lines = (line.split(" ", 3)[3] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return sorted(line for line in lines if "/podman-" not in line and " ext4 /dev/loop" not in line)
