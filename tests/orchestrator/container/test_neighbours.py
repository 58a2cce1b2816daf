"""Which containers a new one takes mounts of layers from, and which mounts."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.container import syscalls
from polyarch.container.erofs import mount_layer
from polyarch.container.layers import MOUNTS, Layers
from polyarch.container.neighbours import Neighbour, mount_clones, neighbours
from polyarch.container.record import Record, write_record
from support.erofs_trees import needs_erofs, prepared
from support.isolation import own_mounts
from support.layers import file, layer

RECORD = Record("a", "a", "image", "", "linux/amd64", ("true",), "", ("one", "two"), False, form="erofs")
DATA = layer(file("f", "first"))


def _container(folder: Path, name: str, record: Record) -> Path:
    directory = folder / name
    directory.mkdir()
    (directory / "lock").touch()
    write_record(directory, replace(record, id=name))
    return directory


def _found(folder: Path, *names: str) -> list[dict[str, Path]]:
    with neighbours(folder, Layers("erofs", tuple(Path(name) for name in names))) as found:
        return [each.mounts for each in found]


def test_one_whose_process_has_its_lock_open(tmp_path: Path) -> None:
    directory = _container(tmp_path, "c", replace(RECORD, status="running", pid=os.getpid()))
    with (directory / "lock").open():
        assert _found(tmp_path, "two", "three") == [{"two": directory / MOUNTS / "1"}]
        assert _found(tmp_path, "three") == []


def test_a_number_that_another_process_has_by_now(tmp_path: Path) -> None:
    _container(tmp_path, "c", replace(RECORD, status="running", pid=os.getpid()))
    assert _found(tmp_path, "one") == []


def test_a_process_that_has_ended(tmp_path: Path) -> None:
    with subprocess.Popen(["true"]) as process:
        directory = _container(tmp_path, "c", replace(RECORD, status="running", pid=process.pid))
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        with (directory / "lock").open():
            assert _found(tmp_path, "one") == []


@pytest.mark.parametrize(
    "change",
    [{"status": "exited"}, {"form": "unpacked"}, {"pid": 0}, {"pid": -1}],
    ids=["ended", "unpacked", "no process", "odd"],
)
def test_records_of_no_use(change: dict[str, object], tmp_path: Path) -> None:
    record = replace(RECORD, status="running", pid=os.getpid())
    directory = _container(tmp_path, "c", replace(record, **change))  # type: ignore[arg-type]
    with (directory / "lock").open():
        assert _found(tmp_path, "one") == []


def test_no_more_are_looked_for_than_have_all(tmp_path: Path) -> None:
    directories = [
        _container(tmp_path, name, replace(RECORD, status="running", pid=os.getpid())) for name in ("c", "d", "e")
    ]
    files = [(directory / "lock").open() for directory in directories]
    assert len(_found(tmp_path, "one", "two")) == 1
    for each in files:
        each.close()


def test_a_record_that_cannot_be_read(tmp_path: Path) -> None:
    directory = _container(tmp_path, "c", RECORD)
    for text in ('"status": "running" "form": "erofs"', '{"status": "running", "form": "erofs"}', ""):
        (directory / "container.json").write_text(text)
        assert _found(tmp_path, "one") == []
    assert _found(tmp_path / "none", "one") == []


def _cloned(other: Callable[[Path], None], mine: Path, folder: Path) -> list[str] | None:
    """What is in a clone of what `other` has mounted in its namespace, where the layer `mine` was wanted."""
    there, target = folder / "there", folder / "target"
    there.mkdir()
    target.mkdir()

    def take(process: int) -> list[str] | None:
        before, root = Path.cwd(), Path("/").stat().st_ino
        with_layer = Neighbour(process, {mine.name: there})
        done = mount_clones(Layers("erofs", (mine,)), [target], [with_layer])
        assert (Path.cwd(), Path("/").stat().st_ino) == (before, root)
        assert done in (set(), {target})
        assert os.path.ismount(target) == bool(done)
        return sorted(each.name for each in target.iterdir()) if done else None

    ready, done = os.pipe(), os.pipe()

    def hold() -> None:
        other(there)
        os.write(ready[1], b"r")
        os.close(done[1])
        os.read(done[0], 1)

    child = os.fork()
    if child == 0:
        try:
            own_mounts_here(hold)
        finally:
            os._exit(0)
    os.close(ready[1])
    os.close(done[0])
    try:
        assert os.read(ready[0], 1) == b"r"
        process = os.pidfd_open(child)
        answer = own_mounts(lambda: take(process))
        os.close(process)
    finally:
        os.close(done[1])
        os.close(ready[0])
        os.waitpid(child, 0)
    assert not os.path.ismount(there)
    assert not os.path.ismount(target)
    return answer


def own_mounts_here(action: Callable[[], None]) -> None:
    syscalls.unshare(syscalls.CLONE_NEWNS)
    syscalls.mounts_to_slaves()
    action()


def test_the_layer_is_cloned(tmp_path: Path) -> None:
    needs_erofs(tmp_path)
    (mine,) = prepared([DATA], tmp_path)
    assert _cloned(lambda there: mount_layer(mine, there), mine, tmp_path) == ["f"]


def test_another_layer_is_not(tmp_path: Path) -> None:
    needs_erofs(tmp_path)
    upper, lower = prepared([DATA, layer(file("f", "second"))], tmp_path)
    assert _cloned(lambda there: mount_layer(lower, there), upper, tmp_path) is None


def test_nothing_else_is(tmp_path: Path) -> None:
    needs_erofs(tmp_path)
    (mine,) = prepared([DATA], tmp_path)
    flags = syscalls.MS_RDONLY | syscalls.MS_NOSUID | syscalls.MS_NODEV
    assert _cloned(lambda there: syscalls.mount("none", there, "tmpfs", flags), mine, tmp_path) is None


def test_one_that_programs_might_be_root_by_is_not(tmp_path: Path) -> None:
    needs_erofs(tmp_path)
    (mine,) = prepared([DATA], tmp_path)

    def with_fewer_flags(there: Path) -> None:
        mount_layer(mine, there)
        syscalls.mount("none", there, None, syscalls.MS_REMOUNT | syscalls.MS_BIND | syscalls.MS_RDONLY)

    assert _cloned(with_fewer_flags, mine, tmp_path) is None


def test_a_directory_of_the_layer_is_not(tmp_path: Path) -> None:
    needs_erofs(tmp_path)
    (mine,) = prepared([layer(file("d/f", "first"))], tmp_path)

    def only_a_part(there: Path) -> None:
        mount_layer(mine, there)
        part = there / "d"
        syscalls.mount(str(part), there, None, syscalls.MS_BIND)

    assert _cloned(only_a_part, mine, tmp_path) is None


def test_nothing_is_there(tmp_path: Path) -> None:
    needs_erofs(tmp_path)
    (mine,) = prepared([DATA], tmp_path)
    assert _cloned(lambda there: None, mine, tmp_path) is None
