"""Layers as EROFS images: what the kernel reads of them, what is checked, what is refused."""

from __future__ import annotations

import contextlib
import gzip
import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import IntegrityError, StorageError
from polyarch.unpack.erofs import format as form
from polyarch.unpack.erofs.attributes import kept_attributes
from polyarch.unpack.erofs.content import Stored
from polyarch.unpack.erofs.layer import ARCHIVE, METADATA, Unfit, prepare_layer
from polyarch.unpack.erofs.reader import Inode, Lower
from polyarch.unpack.image import unpack_image
from polyarch.unpack.limits import Limits
from support.erofs_trees import needs_erofs, prepared, seen_by_all
from support.layers import Item, diff_id, file, folder, hard_link, layer, opener, packed, symlink
from support.overlay_trees import tree
from support.sparse_files import sparse_file


def acl(*entries: tuple[int, int, int]) -> bytes:
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


NONE = 0xFFFFFFFF
NAMED = acl((1, 7, NONE), (2, 5, 1000), (4, 5, NONE), (16, 5, NONE), (32, 5, NONE))
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
PLAIN = acl((1, 7, NONE), (4, 5, NONE), (32, 5, NONE))

# What stands at an edge of the format, all in one layer.
EDGES: list[Item] = [
    *(symlink(f"links/{length}", "t" * length) for length in (*range(1, 20), *range(380, 560), 4094, 4095)),
    *(file(f"folders/{length}/{'n' * length}") for length in range(1, 256, 3)),
    *(file(f"many/{count}/{number}") for count in range(1, 60, 3) for number in range(count)),
    *(file(f"crowd/{number * 7919 % 10007}") for number in range(3000)),
    *(
        file(f"xattrs/{size}", pax={"SCHILY.xattr.user.a": b"v" * size, "SCHILY.xattr.user.b": b"w"})
        for size in (*range(1, 40), *range(400, 560, 3), 3000)
    ),
    *(folder(f"xattrs/folder-{size}", pax={"SCHILY.xattr.user.a": b"v" * size}) for size in range(330, 480)),
    *(file(f"sizes/{size}", os.urandom(size)) for size in (0, 1, 511, 512, 513, 4095, 4096, 4097, 70_000)),
    *(file(f"times/{time}", pax={"mtime": time.encode()}) for time in ("-2147483646.5", "0", "4294967297.000000001")),
    *(Item(f"devices/{number}", kind=b"4", device=(4095 - number, 1048575 >> number)) for number in range(20)),
    file("ids", pax={"uid": b"4294967294", "gid": b"4294967293"}, mode=0o7777),
    *(
        file(f"capabilities/{number}", pax={"SCHILY.xattr.security.capability": value})
        for number, value in enumerate((CAPABILITY, CAPABILITY[:12], CAPABILITY + bytes(4), b"\x01", b"nonsense"))
    ),
    folder("acl", 0o755, pax={"SCHILY.xattr.system.posix_acl_access": NAMED}),
    folder("default", 0o755, pax={"SCHILY.xattr.system.posix_acl_default": NAMED}),
    file("default/file", "no access list of its own"),
    folder("default-plain", 0o2755, pax={"SCHILY.xattr.system.posix_acl_default": PLAIN}),
    file("acl/file", mode=0o4755, pax={"SCHILY.xattr.system.posix_acl_access": NAMED}),
]


def test_edges_of_the_format(tmp_path: Path) -> None:
    needs_erofs(tmp_path)
    above = [
        hard_link("copies/x", "xattrs/3000"),
        hard_link("copies/l", "links/4095"),
        hard_link("copies/a", "acl/file"),
    ]
    layers = [layer(*EDGES), layer(*above)]
    unpack_image(list(map(opener, layers)), list(map(diff_id, layers)), tmp_path / "flat")
    with seen_by_all(prepared(layers, tmp_path), tmp_path / "mounted") as mounted:
        ours, flat = tree(mounted), tree(tmp_path / "flat")
        assert ours.keys() == flat.keys()
        different = [path for path in ours if _timeless(ours[path]) != _timeless(flat[path])]
    assert different == []


@pytest.mark.parametrize(
    ("value", "kept"),
    [(CAPABILITY, True), (CAPABILITY[:12], False), (CAPABILITY + bytes(4), False), (b"nonsense", False)],
    ids=["of version 2", "cut", "longer", "nonsense"],
)
def test_capabilities_that_the_kernel_refuses_are_left_out(value: bytes, kept: bool, tmp_path: Path) -> None:
    """The kernel's own answer is asked for as well: what it would read of a broken one, it does not tell."""
    name = "security.capability"
    assert kept_attributes({name: value}, 0o755, directory=False) == ({name: value} if kept else {})
    if os.geteuid() == 0:
        (tmp_path / "file").touch()
        with contextlib.nullcontext() if kept else pytest.raises(OSError, match="Invalid argument"):
            os.setxattr(tmp_path / "file", name, value)


def _timeless(facts: tuple[object, ...]) -> tuple[object, ...]:
    """Without the time of directories, which no layer names, and without names of one file across layers."""
    return (*facts[:4], facts[4] if facts[0] != 0o040000 else None, *facts[5:-1])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("arrives", [packed, bytes], ids=["gzip", "plain"])
def test_the_archive_is_the_layer_to_the_last_byte(arrives: Callable[[bytes], bytes], tmp_path: Path) -> None:
    data = layer(file("f", "x" * 600)) + b"more behind the end"
    prepare_layer(opener(arrives(data)), diff_id(data), tmp_path / "made", [])
    assert names(tmp_path / "made") == [METADATA, "layer.sum", ARCHIVE]
    assert (tmp_path / "made" / ARCHIVE).read_bytes() == data
    assert (tmp_path / "made" / "layer.sum").read_text() == f"{diff_id((tmp_path / 'made' / METADATA).read_bytes())}\n"


def test_another_diff_id_leaves_nothing(tmp_path: Path) -> None:
    data = layer(file("f", "x" * 600))
    with pytest.raises(IntegrityError, match=r"diff ID sha256:0+ was promised"):
        prepare_layer(opener(data), "sha256:" + "0" * 64, tmp_path / "made", [])
    assert names(tmp_path) == []


def test_one_byte_behind_the_end_is_another_layer(tmp_path: Path) -> None:
    data = layer(file("f"))
    with pytest.raises(IntegrityError, match="diff ID"):
        prepare_layer(opener(data + b"x"), diff_id(data), tmp_path / "made", [])
    assert names(tmp_path) == []


@pytest.mark.parametrize("length", [0, 1, 511, 512, 700, 1024, 1500])
def test_a_cut_layer_is_never_taken(length: int, tmp_path: Path) -> None:
    data = layer(file("f", "x" * 600), end=b"")
    with pytest.raises(IntegrityError):
        prepare_layer(opener(data[:length]), diff_id(data), tmp_path / "made", [])
    assert names(tmp_path) == []


def test_a_bomb_is_stopped_by_its_size(tmp_path: Path) -> None:
    bomb = gzip.compress(layer(file("zeros", bytes(64 << 20))))
    with pytest.raises(IntegrityError, match="more than 33554432 bytes uncompressed"):
        prepare_layer(
            opener(bomb), "sha256:" + "0" * 64, tmp_path / "made", [], limits=Limits(size=32 << 20).of_layer()
        )
    assert names(tmp_path) == []


def test_a_full_disk(small_tmpfs: Callable[[int], Path]) -> None:
    place = small_tmpfs(1 << 20)
    data = layer(file("big", bytes(4 << 20)))
    with pytest.raises(StorageError, match="cannot be written"):
        prepare_layer(opener(data), diff_id(data), place / "made", [])
    assert names(place) == []


def test_what_ready_raises_leaves_nothing(tmp_path: Path) -> None:
    def ready(scanned: object, archive: Path) -> None:
        assert archive.read_bytes() == data
        raise IntegrityError("another entry point")

    data = layer(file("f"))
    with pytest.raises(IntegrityError, match="another entry point"):
        prepare_layer(opener(data), diff_id(data), tmp_path / "made", [], ready=ready)
    assert names(tmp_path) == []


def test_the_same_archive_is_shared(tmp_path: Path) -> None:
    data = layer(file("f", "x"))
    prepare_layer(opener(data), diff_id(data), tmp_path / "first", [])

    def never() -> object:
        raise AssertionError("the blob was read again")

    same = tmp_path / "first" / ARCHIVE
    prepare_layer(never, diff_id(data), tmp_path / "second", [tmp_path / "first"], same=same)  # type: ignore[arg-type]
    assert same.stat().st_ino == (tmp_path / "second" / ARCHIVE).stat().st_ino


@pytest.mark.parametrize("fault", ["changed", "cut", "gone"])
def test_an_archive_that_is_not_the_same_is_not_shared(fault: str, tmp_path: Path) -> None:
    data = layer(file("f", "x"))
    prepare_layer(opener(data), diff_id(data), tmp_path / "first", [])
    same = tmp_path / "first" / ARCHIVE
    if fault == "changed":
        same.write_bytes(data.replace(b"x", b"y"))
    elif fault == "cut":
        os.truncate(same, 700)
    else:
        same.unlink()
    prepare_layer(opener(data), diff_id(data), tmp_path / "second", [], same=same)
    assert (tmp_path / "second" / ARCHIVE).read_bytes() == data
    assert (tmp_path / "second" / ARCHIVE).stat().st_nlink == 1


UNFIT: dict[str, Item] = {
    "pieces off the blocks": sparse_file("f", 4096, [(100, b"x" * 512)], "1.0"),
    "a piece that ends within a block": sparse_file("f", 4096, [(512, b"x")], "1.0"),
    "too many chunks": sparse_file("f", 40 << 30, [(512, b"x" * 512)], "1.0"),
    "an attribute of 64 KiB": file("f", pax={"SCHILY.xattr.user.a": bytes(65536)}),
    "an access list that changes the mode": file("f", pax={"SCHILY.xattr.system.posix_acl_access": NAMED}),
    "an access list that says no more than the mode": file(
        "f", mode=0o755, pax={"SCHILY.xattr.system.posix_acl_access": PLAIN}
    ),
    "no access list": file("f", pax={"SCHILY.xattr.system.posix_acl_access": b"nonsense"}),
    "a default access list of a file": file("f", pax={"SCHILY.xattr.system.posix_acl_default": PLAIN}),
}


@pytest.mark.parametrize("case", UNFIT)
def test_what_is_to_be_unpacked_instead(case: str, tmp_path: Path) -> None:
    data = layer(UNFIT[case])
    with pytest.raises(Unfit):
        prepare_layer(opener(data), diff_id(data), tmp_path / "made", [])
    assert names(tmp_path) == []


def test_many_files_with_holes_do_not_make_metadata_without_end(tmp_path: Path) -> None:
    items = [sparse_file(f"{number}", 30 << 20, [(512, b"x" * 512)], "0.1") for number in range(40)]
    data = layer(*items)
    with pytest.raises(Unfit, match="holes"):
        prepare_layer(opener(data), diff_id(data), tmp_path / "made", [])


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layer with something of each kind."""
    directory = tmp_path_factory.mktemp("finished") / "layer"
    data = layer(
        *(file(f"d/{number}", "x" * number) for number in range(60)),
        symlink("l", "d"),
        file("x", pax={"SCHILY.xattr.user.a": b"value"}),
        sparse_file("s", 8192, [(4096, b"y" * 4096)], "1.0"),
    )
    prepare_layer(opener(data), diff_id(data), directory, [], sync=False)
    return directory


def _open_and_read(directory: Path) -> None:
    lower = Lower(directory)
    _read_all(lower, lower.root)


def _read_all(lower: Lower, folder: Inode, depth: int = 0) -> int:
    """Reads whatever another layer may ask for; how many names there are."""
    count = 0
    for name, inode in lower.names(folder):
        count += 1
        lower.find(folder, name)
        if inode.mode & 0o170000 == 0o040000:
            count += _read_all(lower, inode, depth + 1) if depth < 3 else 0
            continue
        data = lower.data(inode)
        if isinstance(data, Stored):
            data.read(0, min(data.size, 1 << 16))
    return count


def test_reading_a_finished_layer(finished: Path) -> None:
    lower = Lower(finished)
    assert _read_all(lower, lower.root) == 64
    assert lower.find(lower.root, b"none") is None
    lower.close()


@pytest.mark.parametrize("size", [0, 100, 1024, 1152, 1280, 1300, 2000, 4096])
def test_cut_metadata(size: int, finished: Path, tmp_path: Path) -> None:
    os.link(finished / ARCHIVE, tmp_path / ARCHIVE)
    (tmp_path / METADATA).write_bytes((finished / METADATA).read_bytes()[:size])
    with pytest.raises(StorageError, match="is damaged"):
        _open_and_read(tmp_path)


def test_an_archive_of_another_size(finished: Path, tmp_path: Path) -> None:
    (tmp_path / ARCHIVE).write_bytes(bytes(512))
    os.link(finished / METADATA, tmp_path / METADATA)
    with pytest.raises(StorageError, match="of another size"):
        Lower(tmp_path)


@given(st.lists(st.tuples(st.integers(form.SUPER_OFFSET, 12_000), st.integers(0, 255)), min_size=1, max_size=8))
def test_damaged_metadata_brings_nothing_but_a_storage_error(
    tmp_path_factory: pytest.TempPathFactory, finished: Path, changes: list[tuple[int, int]]
) -> None:
    place = tmp_path_factory.mktemp("damaged")
    os.link(finished / ARCHIVE, place / ARCHIVE)
    data = bytearray((finished / METADATA).read_bytes())
    for at, value in changes:
        data[at % len(data)] = value
    (place / METADATA).write_bytes(data)
    with contextlib.suppress(StorageError):
        _open_and_read(place)
