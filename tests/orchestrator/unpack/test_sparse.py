"""Files with holes: read in every form that GNU tar writes, bounded, and written with their holes."""

from __future__ import annotations

import io
import os
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from polyarch.errors import IntegrityError
from polyarch.unpack.image import unpack_image
from polyarch.unpack.limits import USUAL, Limits
from polyarch.unpack.listing import list_layer
from polyarch.unpack.sparse import MAX_SEGMENTS
from polyarch.unpack.stream import LayerStream
from polyarch.unpack.tar import TarReader
from support.layers import Item, diff_id, file, layer, opener
from support.sparse_files import FORMS, sparse_file

PIECES = [(512 * 8 * number, bytes([65 + number % 26]) * 512) for number in range(1, 60)]
SIZE = 512 * 8 * 70 + 3


def content(pieces: list[tuple[int, bytes]], size: int) -> bytes:
    whole = bytearray(size)
    for at, data in pieces:
        whole[at : at + len(data)] = data
    return bytes(whole)


def read(data: bytes, limits: Limits = USUAL) -> list[tuple[bytes, int, bytes]]:
    reader = TarReader(LayerStream(io.BytesIO(data), "here", limits=limits.of_layer()))
    return [(b"/".join(entry.parts), entry.size, b"".join(map(bytes, reader.parts()))) for entry in reader]


@pytest.mark.parametrize("form", FORMS)
def test_every_form(form: str) -> None:
    data = layer(sparse_file("d/sparse", SIZE, PIECES, form), file("behind", "b"))
    assert read(data) == [(b"d/sparse", SIZE, content(PIECES, SIZE)), (b"behind", 1, b"b")]
    outlines = list(TarReader(LayerStream(io.BytesIO(data), "here")).outlines())
    assert [(outline.path, outline.size) for outline in outlines] == [(b"d/sparse", SIZE), (b"behind", 1)]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(("size", "pieces"), [(0, []), (1 << 20, []), (3, [(0, b"abc")]), (515, [(512, b"abc")])])
def test_few_pieces(form: str, size: int, pieces: list[tuple[int, bytes]]) -> None:
    assert read(layer(sparse_file("s", size, pieces, form), file("b"))) == [
        (b"s", size, content(pieces, size)),
        (b"b", 0, b""),
    ]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--format=gnu"],
        ["--posix", "--sparse-version=0.0"],
        ["--posix", "--sparse-version=0.1"],
        ["--posix", "--sparse-version=1.0"],
    ],
    ids=FORMS,
)
def test_what_gnu_tar_writes(arguments: list[str], tmp_path: Path) -> None:
    with (tmp_path / "file").open("wb") as stream:
        for number in range(50):
            stream.seek(number * 100_000)
            stream.write(bytes([number + 1]) * 5000)
        stream.truncate(8_000_001)
    subprocess.run(["tar", "-C", tmp_path, "-S", *arguments, "-cf", tmp_path / "tar", "file"], check=True)
    data = (tmp_path / "tar").read_bytes()
    assert len(data) < 1_000_000
    expected = (tmp_path / "file").read_bytes()
    assert read(data) == [(b"file", len(expected), expected)]
    unpack_image([opener(data)], [diff_id(data)], tmp_path / "image")
    made = tmp_path / "image" / "file"
    assert made.read_bytes() == expected
    assert made.stat().st_blocks * 512 < 1_000_000


def test_a_part_read_then_the_rest() -> None:
    """As whoever looks at the first bytes of a file does."""
    reader = TarReader(LayerStream(io.BytesIO(layer(sparse_file("s", SIZE, PIECES, "1.0"), file("b", "b"))), "here"))
    entries = iter(reader)
    next(entries)
    found = bytes(next(reader.parts()))
    found += b"".join(map(bytes, reader.parts()))
    assert found == content(PIECES, SIZE)
    assert next(entries).parts == (b"b",)


def test_the_next_entry_is_found_whatever_was_read() -> None:
    reader = TarReader(LayerStream(io.BytesIO(layer(sparse_file("s", SIZE, PIECES, "old"), file("b", "b"))), "here"))
    assert [entry.parts for entry in reader] == [(b"s",), (b"b",)]


def test_a_listing_has_the_whole_size_and_content() -> None:
    plain, sparse = (
        list(list_layer(opener(data), diff_id(data), "here"))
        for data in (layer(file("s", content(PIECES, SIZE))), layer(sparse_file("s", SIZE, PIECES, "0.1")))
    )
    assert plain == sparse


def changed(item: Item, **pax: bytes) -> Item:
    return replace(item, pax={**item.pax, **{f"GNU.sparse.{name}": value for name, value in pax.items()}})


ONE = sparse_file("s", 4096, [(1024, b"x" * 512)], "0.1")
NEW = sparse_file("s", 4096, [(1024, b"x" * 512)], "1.0")
OLD = sparse_file("s", 4096, [(1024, b"x" * 512)], "old")
UNSOUND: dict[str, Item] = {
    "pieces in disorder": changed(ONE, map=b"2048,512,1024,0"),
    "pieces over each other": changed(
        sparse_file("s", 4096, [(0, b"x" * 512), (512, b"y" * 512)], "0.1"), map=b"0,512,256,512"
    ),
    "a piece beyond the end": changed(ONE, map=b"4000,512"),
    "more in the map than stored": changed(ONE, map=b"1024,1024"),
    "less in the map than stored": changed(ONE, map=b"1024,100"),
    "half a piece": changed(ONE, map=b"1024"),
    "no number": changed(ONE, map=b"1024,x"),
    "a negative number": changed(ONE, map=b"1024,-512"),
    "a number of 30 digits": changed(ONE, map=b"1024," + b"5" * 30),
    "an unknown version": changed(ONE, major=b"2"),
    "no size": replace(ONE, pax={"GNU.sparse.map": b"1024,512"}),
    "a piece that ends within a block, and another": sparse_file("s", 4096, [(0, b"xyz"), (1024, b"abc")], "1.0"),
    "a map that does not end": replace(NEW, data=b"3\n" + b"1" * 510, size=None),
    "a map of a million pieces": replace(NEW, data=(b"1000000\n" + b"0\n" * 252).ljust(512) + bytes(512)),
    "too many pieces": changed(ONE, map=b"0,0," * MAX_SEGMENTS + b"1024,512"),
    "numbers of a map in disorder": file("s", b"", pax={"GNU.sparse.size": b"0"}, more=[("GNU.sparse.numbytes", b"0")]),
    "a directory with holes": Item("s", kind=b"5", pax={"GNU.sparse.size": b"1", "GNU.sparse.map": b""}),
    "an old one of another size": replace(OLD, raw={**OLD.raw, 483: b"%011o\0" % 1000}),
    "an old one with a negative place": replace(OLD, raw={**OLD.raw, 386: b"\xff" * 12}),
    "an old map without its blocks": replace(OLD, raw={**OLD.raw, 482: b"\1"}),
}


@pytest.mark.parametrize("case", UNSOUND)
def test_what_is_no_sound_map(case: str) -> None:
    with pytest.raises(IntegrityError):
        read(layer(UNSOUND[case], file("b")))


def test_a_map_in_blocks_without_end() -> None:
    endless = replace(
        OLD, raw={**OLD.raw, 482: b"\1"}, after=(b"%011o\0%011o\0" % (0, 0) * 21 + b"\1" + bytes(7)) * 7000
    )
    with pytest.raises(IntegrityError, match="more than 65536 pieces"):
        read(layer(endless))


def test_holes_count_against_the_limit() -> None:
    items = [sparse_file(str(number), 1 << 30, [], "1.0") for number in range(3)]
    reader = TarReader(LayerStream(io.BytesIO(layer(*items)), "here", limits=Limits(size=3 << 30).of_layer()))
    assert len(list(reader)) == 3
    with pytest.raises(IntegrityError, match="files with holes"):
        list(TarReader(LayerStream(io.BytesIO(layer(*items)), "here", limits=Limits(size=(3 << 30) - 1).of_layer())))


def test_a_hole_takes_no_disk(tmp_path: Path) -> None:
    data = layer(sparse_file("s", 8 << 30, [(4 << 30, b"x" * 512)], "1.0"))
    unpack_image([opener(data)], [diff_id(data)], tmp_path / "image")
    status = (tmp_path / "image" / "s").stat()
    assert status.st_size == 8 << 30
    assert status.st_blocks * 512 < 1 << 20
    with (tmp_path / "image" / "s").open("rb") as stream:
        assert os.pread(stream.fileno(), 514, (4 << 30) - 1) == b"\0" + b"x" * 512 + b"\0"


def test_the_zeros_of_large_holes_are_not_hashed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A listing of a layer with holes of many gigabytes takes no longer than what is stored of it."""

    def fingerprint(size: int, *pieces: tuple[int, bytes]) -> bytes:
        data = layer(sparse_file("f", size, pieces, "1.0"))
        (listed,) = list_layer(opener(data), diff_id(data), "here")
        return listed.fingerprint

    assert fingerprint(4096, (512, b"x" * 512)) == fingerprint(4096, (0, bytes(512) + b"x" * 512))
    monkeypatch.setattr(TarReader, "parts", None)
    large = 50 << 30
    assert fingerprint(large, (512, b"x" * 512)) == fingerprint(large, (512, b"x" * 512))
    assert fingerprint(large, (512, b"x" * 512)) != fingerprint(large, (512, b"y" * 512))
    assert fingerprint(large, (512, b"x" * 512)) != fingerprint(large, (1024, b"x" * 512))
