"""Containers whose record a disk has damaged: they are seen, and what runs of them is ended. With a real runtime."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest

from support.command import Polyarch
from support.docker_registry import DockerRegistry
from support.leftovers import Leftovers
from support.processes import await_true
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]


def brace(path: Path) -> None:
    path.write_bytes(b"{" + path.read_bytes())


def cut(path: Path) -> None:
    path.write_bytes(b'{"a":')


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("who", "damage"),
    [
        pytest.param(who, damage, id=f"{damage.__name__}-{who}", marks=() if number == 0 else pytest.mark.costly)
        for number, (who, damage) in enumerate(product(("root", "ordinary user"), (brace, cut, folder, Path.unlink)))
    ],
)
def test_a_running_container_is_seen_and_ended(
    who: str,
    damage: Callable[[Path], None],
    request: pytest.FixtureRequest,
    polyarch: Polyarch,
    registry: DockerRegistry,
    tmp_path: Path,
) -> None:
    if who == "root" and os.geteuid() != 0:
        pytest.skip("these tests do not run as root")
    user: OrdinaryUser | None = None if who == "root" else request.getfixturevalue("unprivileged_user")
    root = (user.home if user else tmp_path) / "damaged-root"
    image = registry.ref("busybox:1.36")
    identifier = polyarch("run", "-q", "-d", image, "sleep", "600", root=root, user=user).ok().stdout.split()[-1]
    [place] = (root / "containers").glob(f"{identifier}*/")
    damage(place / "container.json")
    short, left = place.name[:12], Leftovers(root)

    listed = polyarch("ps", "--format", "json", root=root, user=user).ok().json_lines
    assert [(each["id"], each["status"]) for each in listed] == [(place.name, "damaged")]
    assert listed[0]["pid"] > 0
    assert "Damaged, runs" in polyarch("ps", "-a", root=root, user=user).ok().stdout
    refused = polyarch("exec", short, "true", root=root, user=user)
    assert (refused.code, f"polyarch rm -f {short}" in refused.stderr) == (125, True)
    assert polyarch("image", "rm", image, root=root, user=user).code == 2
    assert polyarch("rm", short, root=root, user=user).code == 2
    assert left.processes()

    polyarch("rm", "-f", short, root=root, user=user).ok()
    await_true(lambda: not left.processes(), "all processes of the container have ended")
    assert left.containers() == []
    assert left.groups({place.name}) == []
    assert polyarch("ps", "-aq", root=root, user=user).ok().stdout == ""
    polyarch("image", "rm", image, root=root, user=user).ok()
