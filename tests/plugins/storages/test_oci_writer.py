"""Blobs on their way in: resumed, never seen before they are whole, kept when the disk is full or the process dies."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from polyarch.contract import Layout, StorageError
from polyarch.oci.digest import digest_of
from polyarch.reference import parse_reference
from support.memory_registry import made_image
from support.storages import Opener, blobs_in, descriptor_of, partials_in, store, write

DATA = bytes(range(256)) * 40
BLOB = descriptor_of(DATA)


def _begin(opener: Opener, data: bytes) -> None:
    with opener().write_blob(BLOB) as writer:
        assert writer is not None
        writer.write(data)


def test_a_blob_comes_in_pieces(open_at: Opener, place: Path) -> None:
    storage = open_at()
    with storage.write_blob(BLOB) as writer:
        assert writer is not None
        assert (writer.offset, list(writer.kept())) == (0, [])
        writer.write(DATA[:100])
        writer.write(memoryview(bytearray(DATA))[100:])
        writer.write(b"")
        assert writer.offset == len(DATA)
        assert not storage.has_blob(BLOB)
        writer.finish()
        assert storage.has_blob(BLOB)
    assert blobs_in(place) == {BLOB.digest}
    assert partials_in(place) == {}
    with open_at().write_blob(BLOB) as again:
        assert again is None


def test_what_came_is_kept_and_read_again(open_at: Opener, place: Path) -> None:
    _begin(open_at, DATA[:1000])
    assert partials_in(place) == {BLOB.digest: 1000}
    assert blobs_in(place) == set()
    with open_at().write_blob(BLOB) as writer:
        assert writer is not None
        assert writer.offset == 1000
        assert b"".join(writer.kept()) == DATA[:1000]
        writer.write(DATA[1000:])
        writer.finish()
    assert open_at().blob_path(BLOB.digest).read_bytes() == DATA


def test_kept_bytes_can_be_thrown_away(open_at: Opener, place: Path) -> None:
    _begin(open_at, b"wrong")
    with open_at().write_blob(BLOB) as writer:
        assert writer is not None
        writer.restart()
        assert (writer.offset, list(writer.kept())) == (0, [])
        writer.write(DATA)
        writer.finish()
    assert blobs_in(place) == {BLOB.digest}


def test_nothing_is_left_of_a_try_without_a_byte(open_at: Opener, place: Path) -> None:
    _begin(open_at, b"")
    assert partials_in(place) == {}


def test_what_is_kept_of_a_blob_that_is_here_goes(open_at: Opener, place: Path) -> None:
    _begin(open_at, DATA[:10])
    Layout(place).write_document(DATA)  # as another tool may have brought it
    with open_at().write_blob(BLOB) as writer:
        assert writer is None
    assert partials_in(place) == {}


def test_a_file_of_the_wrong_size_is_no_blob_and_is_replaced(open_at: Opener, place: Path) -> None:
    write(open_at(), DATA)
    open_at().blob_path(BLOB.digest).write_bytes(b"")
    assert not open_at().has_blob(BLOB)
    write(open_at(), DATA)
    assert blobs_in(place) == {BLOB.digest}


def test_sha512_blobs_have_their_folder(open_at: Opener, place: Path) -> None:
    blob = type(BLOB)("x", digest_of(DATA, "sha512"), len(DATA))
    with open_at().write_blob(blob) as writer:
        assert writer is not None
        writer.write(DATA)
        writer.finish()
    assert blobs_in(place) == {blob.digest}
    assert set(open_at().prune()) == set()  # still counted on by the one who wrote it


def test_a_full_disk_is_told_and_what_came_is_kept(
    small_tmpfs: Callable[[int], Path], open_at: Opener, tmp_path: Path
) -> None:
    folder = small_tmpfs(1 << 20)
    big = os.urandom(3 << 20)
    blob = descriptor_of(big)
    storage = open_at(folder / "storage")
    with storage.write_blob(blob) as writer:
        assert writer is not None
        with pytest.raises(StorageError, match="No space left on device") as caught:
            writer.write(big)
        assert "polyarch image prune" in (caught.value.hint or "")
        assert caught.value.details == {"errno": errno.ENOSPC}
        kept = writer.offset
        assert 0 < kept < len(big)
    assert partials_in(folder / "storage") == {blob.digest: kept}
    with open_at(folder / "storage").write_blob(blob) as writer:
        assert writer is not None
        assert b"".join(writer.kept()) == big[:kept]
    # Reading and clearing up still work on the full disk.
    assert list(storage.images()) == []
    assert storage.prune() == ((blob.digest, kept),)
    image = made_image("linux/arm64", b"small")
    store(storage, image, "a")
    assert storage.find(parse_reference("a"))


def test_a_disk_that_fills_at_the_very_end_names_nothing(small_tmpfs: Callable[[int], Path], open_at: Opener) -> None:
    folder = small_tmpfs(256 << 10)
    storage = open_at(folder / "storage", sync=True)
    store(storage, made_image("linux/arm64", b"first"), "a")
    image = made_image("linux/arm64", b"second")
    for data in image.blobs.values():
        write(storage, data)
    filler = folder / "filler"
    with pytest.raises(OSError, match="No space"):
        filler.write_bytes(bytes(1 << 20))
    with pytest.raises(StorageError, match="No space left on device"):
        storage.commit(image.stored_as("b"))
    assert [str(one.reference) for one in storage.images()] == ["docker.io/library/a:latest"]
    filler.unlink()
    storage.commit(image.stored_as("b"))
    assert len(list(storage.images())) == 2


def test_a_storage_that_cannot_be_written_is_read(small_tmpfs: Callable[[int], Path], open_at: Opener) -> None:
    folder = small_tmpfs(1 << 20)
    image = made_image("linux/arm64", b"layer")
    writing = open_at(folder / "storage")
    store(writing, image, "a")
    writing.close()
    subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)
    storage = open_at(folder / "storage")
    assert storage.find(parse_reference("a"))
    assert not storage.has_blob(BLOB)
    with storage.open_blob(digest_of(b"layer")) as stream:
        assert stream.read() == b"layer"
    for use in (
        lambda: write(storage, DATA),
        lambda: storage.commit(image.stored_as("b")),
        lambda: storage.remove(parse_reference("a")),
        lambda: storage.prune(),
    ):
        with pytest.raises(StorageError, match="Read-only file system") as caught:
            use()
        assert "--root" in (caught.value.hint or "")


WRITE_FOR_EVER = """
import sys
from pathlib import Path
from polyarch.contract import Descriptor
from polyarch_plugins.storages.oci.storage import OciStorage

place, digest, size = sys.argv[1:]
data = bytes(range(256)) * 40
with OciStorage(Path(place)).write_blob(Descriptor("x", digest, int(size))) as writer:
    print(writer.offset, flush=True)
    for line in sys.stdin:
        writer.write(data[writer.offset : writer.offset + int(line)])
        print(writer.offset, flush=True)
"""


def test_a_killed_writer_loses_no_byte_and_no_lock(open_at: Opener, place: Path) -> None:
    expected = 0
    for size in (1, 100, 1000, 4096, 7):
        with subprocess.Popen(
            [sys.executable, "-c", WRITE_FOR_EVER, str(place), BLOB.digest, str(BLOB.size)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            assert process.stdin
            assert process.stdout
            assert int(process.stdout.readline()) == expected
            process.stdin.write(f"{size}\n")
            process.stdin.flush()
            expected = int(process.stdout.readline())
            process.send_signal(signal.SIGKILL)
        assert process.returncode == -signal.SIGKILL
    assert partials_in(place) == {BLOB.digest: expected}
    with open_at(lock_timeout=0).write_blob(BLOB) as writer:
        assert writer is not None
        assert b"".join(writer.kept()) == DATA[:expected]


@pytest.mark.parametrize("sync", [True, False])
def test_every_byte_is_on_the_disk_before_a_name_points_at_it(
    open_at: Opener, place: Path, monkeypatch: pytest.MonkeyPatch, sync: bool
) -> None:
    image = made_image("linux/arm64", DATA, b"second", docker=True)
    storage = open_at(sync=sync)
    for data in image.blobs.values():
        write(storage, data)
    done: list[object] = []
    replace = os.replace
    for name in ("fsync", "fdatasync"):
        monkeypatch.setattr(os, name, lambda descriptor: done.append(os.fstat(descriptor).st_ino))

    def recorded(source: Path, target: Path) -> None:
        replace(source, target)
        done.append(Path(target).name)

    monkeypatch.setattr(os, "replace", recorded)
    storage.commit(image.stored_as("a"))
    if not sync:
        assert [one for one in done if isinstance(one, int)] == []
        return
    named = done.index("index.json")
    files = [*(place / "blobs").rglob("*"), place / "blobs", place / "index.json"]
    assert {path.stat().st_ino for path in files} <= set(done[:named])
    assert place.stat().st_ino in done[named:]
