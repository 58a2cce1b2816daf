from __future__ import annotations

import contextlib
import fcntl
import multiprocessing
import os
import resource
import signal
import stat
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from polyarch import locks
from polyarch.container.rights import Rights, may_use_trusted
from polyarch.container.snapshots import Snapshots
from polyarch.errors import IntegrityError, StorageError
from polyarch.events import Event, LayerAwaited, LayerUnpacked, ignore
from polyarch.oci.config import chain_ids
from support.layers import diff_id, file, folder, hard_link, layer, listing, opener

BASE, TOP, OTHER = layer(file("a", "base")), layer(file("b", "top")), layer(file("b", "other"))


@pytest.fixture
def snapshots(tmp_path: Path) -> Snapshots:
    if not may_use_trusted(tmp_path):
        pytest.skip("only root makes overlay directories without a user namespace")
    return Snapshots(tmp_path / "snapshots", Rights("trusted", None), "unpacked", sync=False)


def ensure(snapshots: Snapshots, *layers: bytes, emit: Callable[[Event], None] = ignore) -> list[Path]:
    return snapshots.ensure(list(map(opener, layers)), list(map(diff_id, layers)), emit)


def test_each_layer_once_by_its_chain_id(snapshots: Snapshots) -> None:
    events: list[Event] = []
    one = ensure(snapshots, BASE, TOP, emit=events.append)
    two = ensure(snapshots, BASE, OTHER, emit=events.append)
    again = ensure(snapshots, BASE, TOP, emit=events.append)
    assert again == one
    assert one[1] == two[1]  # the base is shared
    assert one[0] != two[0]
    assert [path.name for path in one[::-1]] == [
        each.partition(":")[2] for each in chain_ids((diff_id(BASE), diff_id(TOP)))
    ]
    assert events == [LayerUnpacked(diff_id(data)) for data in (BASE, TOP, OTHER)]
    assert listing(one[0]) == {"b": "b'top'"}


def test_more_layers_than_files_may_be_open(snapshots: Snapshots) -> None:
    """By default 1,024 may be, and an image may have as many layers."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    few = len(list(Path("/proc/self/fd").iterdir())) + 24
    resource.setrlimit(resource.RLIMIT_NOFILE, (few, hard))
    try:
        made = ensure(snapshots, *(layer(file(str(number))) for number in range(24)))
        assert resource.getrlimit(resource.RLIMIT_NOFILE) == (few, hard)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert all(path.is_dir() for path in made)


def test_the_same_layer_above_another_is_another_snapshot(snapshots: Snapshots) -> None:
    assert ensure(snapshots, BASE, TOP)[0] != ensure(snapshots, OTHER, TOP)[0]


def test_an_image_without_layers(snapshots: Snapshots) -> None:
    assert ensure(snapshots) == []


def test_a_failure_leaves_nothing_but_whole_layers(snapshots: Snapshots, tmp_path: Path) -> None:
    with pytest.raises(IntegrityError, match="was promised"):
        snapshots.ensure([opener(BASE), opener(TOP)], [diff_id(BASE), diff_id(OTHER)], ignore)
    assert {path.name for path in (tmp_path / "snapshots" / "trusted").iterdir()} <= {diff_id(BASE).partition(":")[2]}


def test_a_layer_that_needs_the_one_below_waits_for_it(snapshots: Snapshots, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one below begins to come in only when the one above has been opened."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    listen, speak = os.pipe()
    base = layer(folder("etc", mode=0o711), file("etc/a", "base"), file("etc/gone", ""))
    top = layer(file("etc/.wh.gone", ""), file("etc/b", "top"), hard_link("etc/c", "etc/a"))

    def open_base() -> BinaryIO:
        os.read(listen, 1)
        return opener(base)()

    def open_top() -> BinaryIO:
        os.write(speak, b"x")
        return opener(top)()

    paths = snapshots.ensure([open_base, open_top], [diff_id(base), diff_id(top)], ignore)
    for end in (listen, speak):
        os.close(end)
    assert (paths[0] / "etc").stat().st_mode & 0o7777 == 0o711
    assert (paths[0] / "etc" / "c").read_text() == "base"
    assert stat.S_ISCHR((paths[0] / "etc" / "gone").lstat().st_mode)


@pytest.mark.parametrize("names", [("layer.tar",), ("layer.erofs",), ("layer.tar", "layer.erofs")], ids="+".join)
@pytest.mark.parametrize("damage", [lambda path: os.truncate(path, 0), Path.unlink], ids=["empty", "missing"])
def test_a_layer_that_was_cut_short_is_made_anew(
    names: tuple[str, ...], damage: Callable[[Path], None], tmp_path: Path
) -> None:
    """As an EROFS image; the archive is another layer's, too."""
    snapshots = Snapshots(tmp_path / "snapshots", Rights("trusted", None), "erofs", sync=False)
    paths = {*ensure(snapshots, BASE, TOP), *ensure(snapshots, OTHER, TOP)}
    files = {file: file.read_bytes() for path in paths for file in path.iterdir()}
    assert snapshots.missing([diff_id(BASE), diff_id(TOP)]) == []
    top = ensure(snapshots, BASE, TOP)[0]
    for name in names:
        damage(top / name)
    assert snapshots.missing([diff_id(BASE), diff_id(TOP)]) == [1]
    for below in (BASE, OTHER):
        ensure(snapshots, below, TOP)
    assert {file: file.read_bytes() for path in paths for file in path.iterdir()} == files
    assert {path.name for path in top.parent.iterdir()} == {path.name for path in paths}


def test_what_a_killed_process_left_is_removed(snapshots: Snapshots, tmp_path: Path) -> None:
    name = diff_id(BASE).partition(":")[2]
    left = tmp_path / "snapshots" / "trusted" / f".{name}.0123456789ab.new"
    (left / "deep").mkdir(parents=True)
    ensure(snapshots, BASE)
    assert [path.name for path in left.parent.iterdir()] == [name]


def _race(root: Path, start: object, opened: object) -> None:
    def open_layer() -> BinaryIO:
        with opened.get_lock():  # type: ignore[attr-defined]
            opened.value += 1  # type: ignore[attr-defined]
        return opener(BASE)()

    start.wait()  # type: ignore[attr-defined]
    Snapshots(root, Rights("trusted", None), "unpacked", sync=False).ensure([open_layer], [diff_id(BASE)], ignore)


def test_several_processes_unpack_a_layer_once(snapshots: Snapshots, tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    start, opened = context.Event(), context.Value("i", 0)
    root = tmp_path / "snapshots"
    processes = [context.Process(target=_race, args=(root, start, opened)) for _ in range(6)]
    for process in processes:
        process.start()
    start.set()
    for process in processes:
        process.join(30)
    assert [process.exitcode for process in processes] == [0] * 6
    assert opened.value == 1


def test_a_lock_dies_with_its_holder(snapshots: Snapshots, tmp_path: Path) -> None:
    ensure(snapshots, TOP)
    locks = tmp_path / "snapshots" / "locks"
    name = diff_id(BASE).partition(":")[2]
    pid = os.fork()
    if pid == 0:
        descriptor = os.open(locks / name, os.O_RDWR | os.O_CREAT)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os._exit(0)
    os.waitpid(pid, 0)
    ensure(snapshots, BASE)


@pytest.fixture
def holder(snapshots: Snapshots) -> Iterator[int]:
    """A process that holds the lock of BASE, and does nothing."""
    snapshots.begin()
    ready, told = os.pipe()
    pid = os.fork()
    if pid == 0:
        with snapshots.locked(0, [diff_id(BASE)]):
            os.write(told, b"1")
            signal.pause()
    os.read(ready, 1)
    yield pid
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    os.close(ready)
    os.close(told)


def test_who_makes_a_layer_is_told_and_waited_for(
    snapshots: Snapshots, holder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_A_MOMENT", 0)
    events: list[Event] = []

    def emit(event: Event) -> None:
        events.append(event)
        if isinstance(event, LayerAwaited):
            os.kill(holder, signal.SIGKILL)
            os.waitpid(holder, 0)

    assert listing(ensure(snapshots, BASE, TOP, emit=emit)[1]) == {"a": "b'base'"}
    awaited, *unpacked = events
    assert isinstance(awaited, LayerAwaited)
    assert awaited.diff_id == diff_id(BASE)
    assert awaited.holder.startswith(f"process {holder} (")
    assert unpacked == [LayerUnpacked(diff_id(BASE)), LayerUnpacked(diff_id(TOP))]


def test_a_maker_that_does_nothing_is_not_waited_for_longer_than_the_setting(tmp_path: Path, holder: int) -> None:
    impatient = Snapshots(tmp_path / "snapshots", Rights("trusted", None), "unpacked", sync=False, lock_timeout=0.01)
    with pytest.raises(StorageError, match=rf"the layer \S+ is locked by process {holder} .* for more than 0.01 s"):
        ensure(impatient, BASE, TOP)


def test_a_lock_is_given_back_though_a_child_was_forked_meanwhile(snapshots: Snapshots) -> None:
    ids = [diff_id(BASE)]
    snapshots.begin()
    end, stays = os.pipe()
    with snapshots.locked(0, ids):
        child = os.fork()
        if child == 0:
            os.close(stays)
            os.read(end, 1)
            os._exit(0)
    try:
        with snapshots.locked(0, ids, wait=False) as made:
            assert not made
    finally:
        os.close(end)
        os.close(stays)
        os.waitpid(child, 0)


def test_trusted_attributes_tell_real_root(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can be told from root in a namespace")
    from polyarch.container.id_maps import same_ids
    from polyarch.container.launch import call_inside

    assert may_use_trusted(tmp_path)
    answer = tmp_path / "answer"
    call_inside(same_ids(), lambda: answer.write_text(str(may_use_trusted(tmp_path))) and None)
    assert answer.read_text() == "False"
    assert os.listxattr(tmp_path) == []
