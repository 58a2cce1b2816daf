"""What is written as an archive is read as what it was: by our own reader, and by Python's."""

from __future__ import annotations

import io
import os
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.unpack.beneath import Root
from polyarch.unpack.stream import LayerStream
from polyarch.unpack.tar import BLOCK, Entry, Kind, TarReader
from polyarch.unpack.tar_writer import TarWriter, header, kind_of

PART = st.binary(min_size=1, max_size=255).map(lambda part: part.replace(b"/", b"_").replace(b"\0", b"_"))
NAME = st.lists(PART.filter(lambda part: part not in (b".", b"..")), min_size=1, max_size=8).map(b"/".join)
ID = st.integers(0, (1 << 32) - 2)
TIME = st.integers(-(10**18), 10**19)
XATTRS = st.dictionaries(
    st.binary(min_size=1, max_size=20)
    .filter(lambda name: not {*b"=\0\n"} & {*name})
    .map(lambda name: "user." + os.fsdecode(name)),
    st.binary(max_size=60),
    max_size=3,
)
ENTRIES = st.builds(
    Entry,
    name=NAME,
    parts=st.just(()),
    kind=st.sampled_from([Kind.DIRECTORY, Kind.FIFO, Kind.CHARACTER, Kind.BLOCK, Kind.SYMLINK, Kind.HARD_LINK]),
    mode=st.integers(0, 0o7777),
    uid=ID,
    gid=ID,
    size=st.just(0),
    mtime=TIME,
    link=NAME,
    xattrs=XATTRS,
)


def read(data: bytes) -> list[Entry]:
    return list(TarReader(LayerStream(io.BytesIO(data), "test")))


def comparable(entry: Entry) -> Entry:
    link = entry.link if entry.kind in (Kind.SYMLINK, Kind.HARD_LINK) else b""
    parts = tuple(part for part in entry.name.split(b"/") if part not in (b"", b"."))
    return replace(entry, link=link, parts=parts, xattrs=dict(entry.xattrs))


@given(st.lists(ENTRIES, max_size=4))
def test_entries_come_back(entries: list[Entry]) -> None:
    data = b"".join(map(header, entries)) + bytes(2 * BLOCK)
    assert len(data) % BLOCK == 0
    assert list(map(comparable, read(data))) == list(map(comparable, entries))


@given(ENTRIES)
def test_pythons_own_reader_finds_the_same(entry: Entry) -> None:
    entry = replace(entry, xattrs={})
    with tarfile.open(fileobj=io.BytesIO(header(entry) + bytes(2 * BLOCK)), errors="surrogateescape") as tar:
        info = tar.getmembers()[0]
    assert os.fsencode(info.name) == entry.name
    assert (info.mode, info.uid, info.gid) == (entry.mode, entry.uid, entry.gid)
    assert float(info.mtime) == pytest.approx(entry.mtime / 10**9)


@pytest.mark.parametrize("size", [0, 0o77777777777, 0o77777777777 + 1, 1 << 40])
def test_sizes(size: int) -> None:
    entry = Entry(b"big", (), Kind.FILE, 0o644, 0, 0, size, 0)
    with tarfile.open(fileobj=io.BytesIO(header(entry)), mode="r|") as tar:
        member = tar.next()
    assert member is not None
    assert member.size == size


def test_a_file_with_its_content(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x" * 700)
    os.utime(tmp_path / "f", ns=(0, 5_000_000_001))
    out = io.BytesIO()
    writer = TarWriter(out.write, latest=3_000_000_000)
    top = Root(tmp_path).top
    status = (tmp_path / "f").stat()
    kind = kind_of(status)
    assert kind is Kind.FILE
    writer.add_from(top, b"f", b"g", kind, status)
    writer.finish()
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as tar:
        (member,) = tar.getmembers()
        content = tar.extractfile(member)
        assert content is not None
        assert content.read() == b"x" * 700
    assert (member.name, member.mtime) == ("g", 3)


def test_a_file_that_was_replaced_is_told_as_gone(tmp_path: Path) -> None:
    (tmp_path / "f").touch()
    status = (tmp_path / "f").stat()
    (tmp_path / "f").unlink()
    os.mkfifo(tmp_path / "f")
    with pytest.raises(FileNotFoundError):
        TarWriter(io.BytesIO().write).add_from(Root(tmp_path).top, b"f", b"f", Kind.FILE, status)
