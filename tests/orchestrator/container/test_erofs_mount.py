"""Prepared layers mounted: by their files, by loop devices, whatever the place is called; and why not."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.container import erofs, syscalls
from polyarch.container.erofs import erofs_works, mount_layer
from polyarch.errors import HostError, StorageError
from polyarch.unpack.erofs.layer import metadata_is_sound
from support.erofs_trees import needs_erofs, prepared
from support.isolation import CannotIsolate, isolated, own_mounts
from support.layers import file, layer

DATA = layer(file("d/f", "x" * 70_000), file("g", "second"))


def _seen(directory: Path, target: Path) -> tuple[list[str], int, str]:
    """What is in the mounted layer, how much its file has, and what the kernel says that is mounted."""
    target.mkdir(exist_ok=True)

    def mounted() -> tuple[list[str], int, str]:
        before = Path.cwd()
        mount_layer(directory, target)
        assert Path.cwd() == before
        line = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()[-1]
        assert (target / "d/f").read_bytes() == b"x" * 70_000
        with pytest.raises(OSError, match="Read-only"):
            (target / "new").touch()
        return sorted(path.name for path in target.iterdir()), (target / "d/f").stat().st_size, line.split(" - ")[1]

    return own_mounts(mounted)


def test_by_its_files(tmp_path: Path) -> None:
    needs_erofs(tmp_path)
    (directory,) = prepared([DATA], tmp_path)
    names, size, what = _seen(directory, tmp_path / "target")
    assert (names, size) == (["d", "g"], 70_000)
    assert what.startswith(("erofs layer.erofs ro", "erofs /dev/loop"))


def test_by_loop_devices_where_files_cannot_be(small_tmpfs: Callable[[int], Path], tmp_path: Path) -> None:
    place = small_tmpfs(1 << 20)
    if reason := erofs_works(place):
        pytest.skip(reason)
    (directory,) = prepared([DATA], place)
    names, _, what = _seen(directory, tmp_path / "target")
    assert names == ["d", "g"]
    assert what.startswith("erofs /dev/loop")
    used = [path.read_text() for path in Path("/sys/block").glob("loop*/loop/backing_file")]
    assert not any(str(place) in path for path in used)


@pytest.mark.parametrize(
    "name",
    ["a,b", "a b\\\n:=", "é", b"\xff".decode("utf-8", "surrogateescape"), "n" * 255],
    ids=["comma", "odd", "letters", "bytes", "long"],
)
def test_whatever_the_place_is_called(name: str, tmp_path: Path) -> None:
    needs_erofs(tmp_path)
    place = tmp_path / name / name
    place.mkdir(parents=True)
    assert erofs_works(place) is None
    (directory,) = prepared([DATA], place)
    assert _seen(directory, place / "target")[0] == ["d", "g"]


def test_a_relative_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_erofs(tmp_path)
    prepared([DATA], tmp_path)
    monkeypatch.chdir(tmp_path)
    assert _seen(Path("erofs-0"), Path("target"))[0] == ["d", "g"]


def test_a_trial_leaves_nothing(tmp_path: Path) -> None:
    erofs_works(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_nobody_else_sees_a_trial(tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    erofs_works(tmp_path)
    assert Path("/proc/self/mountinfo").read_text() == before


def test_a_user_namespace_may_not(tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    try:
        assert isolated(lambda: erofs_works(tmp_path)) == "only root may mount EROFS"
    except CannotIsolate as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENODEV, "the kernel has no EROFS (modprobe erofs)"),
        (errno.EINVAL, "the kernel's EROFS has no blocks of 512 bytes (Linux 6.4 and newer have)"),
        (errno.EIO, "EROFS: Input/output error"),
    ],
    ids=["no module", "an old kernel", "a fault"],
)
def test_what_the_kernel_refuses(number: int, says: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(syscalls, "detached_mount", refuse)
    monkeypatch.setattr(syscalls, "mount", refuse)
    assert erofs_works(tmp_path) == says
    (directory,) = prepared([DATA], tmp_path)
    with pytest.raises(HostError, match="a layer cannot be mounted") as caught:
        mount_layer(directory, tmp_path)
    assert caught.value.hint


def test_without_loop_devices(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOTBLK, os.strerror(errno.ENOTBLK))

    monkeypatch.setattr(syscalls, "detached_mount", refuse)
    monkeypatch.setattr(erofs, "_CONTROL", str(tmp_path / "none"))
    reason = erofs_works(tmp_path)
    assert reason is not None
    assert "6.12" in reason
    assert "none is missing" in reason


def _turned(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[1024] ^= 4  # of the superblock
    path.write_bytes(data)


def _emptied(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize(
    ("name", "damage"), [("layer.tar", _emptied), ("layer.erofs", _emptied), ("layer.erofs", _turned)]
)
def test_a_damaged_layer_is_told_as_such(name: str, damage: Callable[[Path], None], tmp_path: Path) -> None:
    (directory,) = prepared([DATA], tmp_path)
    damage(directory / name)
    with pytest.raises(StorageError, match="is damaged") as caught:
        mount_layer(directory, tmp_path)
    assert "--repair" in str(caught.value.hint)
    assert metadata_is_sound(directory) is (name == "layer.tar")
    if name == "layer.erofs":
        (directory / "layer.sum").unlink()  # as layers had none before
        assert not metadata_is_sound(directory)
