"""Containers of one image share its layers: none is copied, on the disk or in memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from benchmarks.memory import chain, memory_of

from polyarch.container.record import Record, read_record
from support.command import Polyarch
from support.disk import allocated
from support.docker_registry import DockerRegistry
from support.erofs_trees import needs_erofs
from support.owners import owner_of
from support.users import OrdinaryUser

pytestmark = [
    pytest.mark.system,
    pytest.mark.skipif(not (shutil.which("crun") or shutil.which("runc")), reason="no OCI runtime is installed"),
]
MOST = 96 << 10
"""Bytes that a container may add: some folders and small files, of a block each; not its image's 2 MB."""


@pytest.fixture(params=["root", "ordinary user"])
def owner(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[OrdinaryUser | None, Path]:
    user = owner_of(request, soak=False)
    return user, (user.home / "shared-root" if user else tmp_path / "root")


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


def test_unpacked_layers_give_two_that_run_one_copy_of_the_program_in_memory(
    owner: tuple[OrdinaryUser | None, Path], polyarch: Polyarch, registry: DockerRegistry
) -> None:
    user, root = owner
    settings = (user.home if user else root.parent) / "unpack.toml"
    settings.write_text('layers = "unpack"\n')
    settings.chmod(0o644)
    words = ("--config", str(settings), "run", "--rm", registry.ref("busybox:1.36"), "stat", "-c", "%i", "/bin/busybox")
    seen = {int(polyarch(*words, root=root, user=user).ok().stdout) for _ in range(2)}
    # The page cache belongs to the inode of the lower layer, which all overlays hand through.
    assert seen == {path.stat().st_ino for path in root.glob("snapshots/*/*/bin/busybox")}


@dataclass(frozen=True, slots=True)
class Erofs:
    """`polyarch` as root with layers that are EROFS images."""

    polyarch: Polyarch
    settings: Path

    def __call__(self, *words: str) -> str:
        return self.polyarch("--config", str(self.settings), "--progress", "none", *words).ok().stdout

    def start(self, *words: str) -> Record:
        """A container that goes on."""
        record = read_record(self.polyarch.root / "containers" / self("run", "-d", *words, "sleep", "1000").strip())
        assert record is not None
        assert record.form == "erofs"
        return record


@pytest.fixture
def erofs(polyarch: Polyarch, tmp_path: Path) -> Iterator[Erofs]:
    """Afterwards every container is ended, and nothing is mounted that was not."""
    needs_erofs(tmp_path)
    settings = tmp_path / "erofs.toml"
    settings.write_text('layers = "erofs"\n')
    run = Erofs(polyarch, settings)
    yield run
    if names := run("ps", "-a", "-q").split():
        run("rm", "-f", *names)
    assert str(polyarch.root) not in Path("/proc/self/mountinfo").read_text()


def _copies(*records: Record) -> float:
    """How many copies of the program's file they have in memory, of what the one with the most of it uses."""
    memory = [memory_of(chain(record.pid)[-1]) for record in records]
    return sum(one.pss_files for one in memory) / max(one.files for one in memory)


def _file_systems(record: Record) -> list[str]:
    """The device number of each of its layers' file systems, as its own process sees them."""
    lines = [line.split() for line in Path(f"/proc/{record.pid}/mountinfo").read_text().splitlines()]
    found = [words[2] for words in lines if f"/{record.id}/layers/" in words[4]]
    assert len(found) == len(record.layers)
    return found


def test_erofs_layers_give_those_that_run_one_copy_of_the_program_in_memory(
    erofs: Erofs, registry: DockerRegistry
) -> None:
    image = registry.ref("busybox:1.36")
    first, second = (erofs.start(image) for _ in range(2))
    assert _copies(first, second) <= 1.1
    erofs("rm", "-f", first.id)  # it is the one that has mounted them
    third, inside = erofs.start(image), erofs("exec", second.id, "ls", "/bin")
    assert _copies(second, third) <= 1.1
    assert erofs("exec", third.id, "ls", "/bin") == inside
    assert _file_systems(second) == _file_systems(third) == _file_systems(erofs.start("--rm", image))
    assert " - erofs " not in erofs("exec", third.id, "cat", "/proc/self/mountinfo")


def test_one_that_was_made_before_shares_them_when_it_starts(erofs: Erofs, registry: DockerRegistry) -> None:
    image = registry.ref("busybox:1.36")
    made = erofs("container", "create", image, "sleep", "1000").strip()
    first = erofs.start(image)
    erofs("container", "start", made)
    record = read_record(erofs.polyarch.root / "containers" / made)
    assert record is not None
    assert _file_systems(record) == _file_systems(first)


def test_emulated_ones_share_their_layers_as_well(erofs: Erofs, registry: DockerRegistry) -> None:
    words = ("--platform", "linux/arm64", registry.ref("busybox:1.36"))
    first, second = erofs.start(*words), erofs.start(*words)
    assert _file_systems(first) == _file_systems(second)
    assert erofs("exec", second.id, "uname", "-m") == "aarch64\n"
