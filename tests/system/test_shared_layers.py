"""Containers of one image share its layers: none is copied, on the disk or in memory."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from support.command import Polyarch
from support.disk import allocated
from support.docker_registry import DockerRegistry
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]
MOST = 96 << 10
"""Bytes that a container may add: some folders and small files, of a block each; not its image's 2 MB."""


@pytest.fixture(params=["root", "ordinary user"])
def owner(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[OrdinaryUser | None, Path]:
    if request.param == "root":
        if os.geteuid() != 0:
            pytest.skip("these tests do not run as root")
        return None, tmp_path / "root"
    user: OrdinaryUser = request.getfixturevalue("unprivileged_user")
    return user, user.home / "shared-root"


@pytest.mark.soak
def test_fifty_containers_of_one_image_add_no_copy_of_a_layer(
    owner: tuple[OrdinaryUser | None, Path],
    polyarch: Polyarch,
    registry: DockerRegistry,
    count: Callable[[int, int], int],
) -> None:
    user, root = owner
    number = count(5, 50)
    words = ("--progress", "none", "run", registry.ref("busybox:1.36"), "sh", "-c", "echo own > /own; cat /own")
    assert polyarch(*words, root=root, user=user).ok().stdout == "own\n"
    before, layers = allocated(root), allocated(root / "snapshots")
    inodes = {path.stat().st_ino for path in root.glob("snapshots/*/*/bin/busybox")}
    for _ in range(number):
        polyarch(*words, root=root, user=user).ok()
    added = (allocated(root) - before) / number
    assert added <= MOST
    assert allocated(root / "snapshots") == layers
    assert {path.stat().st_ino for path in root.glob("snapshots/*/*/bin/busybox")} == inodes
    assert len(list((root / "containers").glob("*/"))) == number + 1
    names = polyarch("ps", "-a", "-q", root=root, user=user).ok().stdout.split()
    polyarch("rm", *names, root=root, user=user).ok()
    # What is left of them all is no more than the folder that held them.
    assert allocated(root) - (before - added) <= MOST


def test_two_that_run_have_one_copy_of_the_program_in_memory(
    owner: tuple[OrdinaryUser | None, Path], polyarch: Polyarch, registry: DockerRegistry
) -> None:
    user, root = owner
    settings = (user.home if user else root.parent) / "unpack.toml"
    settings.write_text('layers = "unpack"\n')  # EROFS images are mounted by each container for itself
    settings.chmod(0o644)
    words = ("--config", str(settings), "run", "--rm", registry.ref("busybox:1.36"), "stat", "-c", "%i", "/bin/busybox")
    seen = {int(polyarch(*words, root=root, user=user).ok().stdout) for _ in range(2)}
    # The page cache belongs to the inode of the lower layer, which all overlays hand through.
    assert seen == {path.stat().st_ino for path in root.glob("snapshots/*/*/bin/busybox")}
