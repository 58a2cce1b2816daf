"""What a container changed: places to mount on, and the directory of a container as it stands on the disk."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest

from polyarch.container.changes import Change, changes, container_changes, mount_targets
from polyarch.container.layers import Layers
from polyarch.container.rights import Rights
from polyarch.errors import StorageError
from polyarch.unpack.image import remove_tree
from support.overlay_trees import image, shown


@pytest.fixture
def unpacked(tmp_path: Path) -> tuple[Path, list[Path]]:
    """A read-write layer, and the layers below."""
    (tmp_path / "upper").mkdir()
    lowers = image(tmp_path, "user")
    return tmp_path / "upper", lowers


def made(upper: Path, lowers: list[Path], *paths: str) -> None:
    """What overlayfs makes of directories (a slash at the end) and empty files on the way to a mount."""
    for path in paths:
        target = upper / path
        (target if path.endswith("/") else target.parent).mkdir(parents=True, exist_ok=True)
        if not path.endswith("/"):
            target.touch()
    for folder_name in {path.partition("/")[0] for path in paths}:
        for lower in lowers:
            if (lower / folder_name).is_dir():
                (upper / folder_name).chmod((lower / folder_name).stat().st_mode & 0o7777)
                break


def test_what_the_runtime_made_to_mount_on_is_no_change(unpacked: tuple[Path, list[Path]]) -> None:
    upper, lowers = unpacked
    made(upper, lowers, "proc/", "sys/", "dev/", "etc/hosts", "data/sub/deep/", "run/docker.sock")
    targets = ["/proc", "/sys", "/dev", "/dev/pts", "/etc/hosts", "/data/sub/deep", "/var/run/docker.sock"]
    assert shown(changes(upper, lowers, "user", targets)) == []
    without = shown(changes(upper, lowers, "user", targets[:-2]))
    assert without == ["A /data", "A /data/sub", "A /data/sub/deep", "C /run", "A /run/docker.sock"]


def test_what_is_more_than_a_place_to_mount_on_is_a_change(unpacked: tuple[Path, list[Path]]) -> None:
    upper, lowers = unpacked
    made(upper, lowers, "etc/hosts", "data/sub/", "data/mine", "srv/")
    (upper / "etc/hosts").write_text("not empty")
    (upper / "loop").symlink_to("loop")
    targets = ["/etc/hosts", "/data/sub", "/srv/gone", "/loop/x"]
    expected = ["A /data", "A /data/mine", "C /etc", "A /etc/hosts", "A /loop"]
    assert shown(changes(upper, lowers, "user", targets)) == expected


def test_a_whiteout_of_what_nobody_has_is_nothing(unpacked: tuple[Path, list[Path]]) -> None:
    upper, lowers = unpacked
    os.mknod(upper / "nobody-has-this", stat.S_IFCHR, 0)
    assert changes(upper, lowers, "user") == []


def test_only_the_read_write_layer_is_walked(
    unpacked: tuple[Path, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    upper, lowers = unpacked
    for number in range(200):
        (lowers[0] / "usr" / "lib" / f"big-{number}").mkdir(parents=True)
    made(upper, lowers, "etc/new")
    opened: list[int] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda fd: opened.append(fd) or real(fd))
    assert shown(changes(upper, lowers, "user")) == ["C /etc", "A /etc/new"]
    assert len(opened) == 2  # upper and upper/etc


def container(place: Path, upper: Path, spec: str | None) -> Path:
    directory = place / ("0" * 64)
    directory.mkdir()
    upper.rename(directory / "upper")
    if spec is not None:
        (directory / "config.json").write_text(spec)
    return directory


def test_a_containers_own_directory(unpacked: tuple[Path, list[Path]], tmp_path: Path) -> None:
    upper, lowers = unpacked
    made(upper, lowers, "proc/", "etc/new")
    directory = container(tmp_path, upper, json.dumps({"mounts": [{"destination": "/proc"}]}))
    found = container_changes(directory, Layers("unpacked", tuple(lowers)), Rights("user", None))
    assert shown(list(found)) == ["C /etc", "A /etc/new"]


def test_a_container_that_was_never_started(unpacked: tuple[Path, list[Path]], tmp_path: Path) -> None:
    directory = container(tmp_path, unpacked[0], None)
    assert mount_targets(directory / "config.json") == ()
    assert container_changes(directory, Layers("unpacked", tuple(unpacked[1])), Rights("user", None)) == ()


@pytest.mark.parametrize("spec", ["", "[]", "{}", '{"mounts": [1]}', "\xff"])
def test_a_damaged_spec(spec: str, unpacked: tuple[Path, list[Path]], tmp_path: Path) -> None:
    directory = container(tmp_path, unpacked[0], spec)
    with pytest.raises(StorageError, match="damaged"):
        container_changes(directory, Layers("unpacked", tuple(unpacked[1])), Rights("user", None))


def test_layers_that_are_gone(unpacked: tuple[Path, list[Path]], tmp_path: Path) -> None:
    directory = container(tmp_path, unpacked[0], None)
    remove_tree(unpacked[1][0])
    with pytest.raises(StorageError, match="cannot read the layers of the container 000000000000"):
        container_changes(directory, Layers("unpacked", tuple(unpacked[1])), Rights("user", None))


def test_a_name_for_people() -> None:
    assert Change("A", os.fsdecode(b"/caf\xe9")).shown == "/caf\\xe9"
