"""Where the members of an archive lie, whoever wrote it and whatever is wrong with it."""

from __future__ import annotations

import contextlib
import tarfile
from collections.abc import Mapping
from tempfile import TemporaryFile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import IntegrityError
from polyarch.oci import tar_index
from polyarch.oci.tar_index import BLOCK, index_tar
from support.tar_files import Content, Link, tar_of

LONG = "/".join(["folder" * 9] * 5)
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


def contents(raw: bytes) -> Mapping[str, bytes]:
    with TemporaryFile() as stream:
        stream.write(raw)
        stream.flush()
        found = index_tar(stream.fileno(), len(raw), "a.tar")
    return {name: raw[member.offset : member.offset + member.size] for name, member in found.items()}


@pytest.mark.parametrize("kind", FORMATS)
def test_all_formats(kind: int) -> None:
    files: dict[str, Content] = {"a": b"1", "b/c": b"", "d": bytes(BLOCK), "b/größe": b"5" * (BLOCK + 1)}
    if kind != tarfile.USTAR_FORMAT:
        files[LONG] = b"long"
    assert contents(tar_of(files, kind)) == files


@pytest.mark.parametrize(
    ("members", "found"),
    [
        ([("./a", b"1"), ("/b", b"2"), ("c//./d", b"3")], {"a": b"1", "b": b"2", "c/d": b"3"}),
        ([("a", b"old"), ("a", b"new")], {"a": b"new"}),
        ([("a", b"1"), ("folder", None), (".", None)], {"a": b"1"}),
        ([("x/l", Link("../y/f")), ("y/f", b"1")], {"x/l": b"1", "y/f": b"1"}),
        ([("x/l", Link("/y/f")), ("y/f", b"1")], {"x/l": b"1", "y/f": b"1"}),
        ([("y/f", b"1"), ("x/l", Link("y/f", hard=True))], {"x/l": b"1", "y/f": b"1"}),
        ([("a", Link("b")), ("b", Link("c")), ("c", b"1")], {"a": b"1", "b": b"1", "c": b"1"}),
        # What leads to nothing, in circles or out is not there.
        ([("a", Link("b")), ("b", Link("a"))], {}),
        ([("a", Link("nothing"))], {}),
        ([("a", Link("../../etc/passwd")), ("../b", b"1"), ("c/../../d", b"2"), ("e", b"3")], {"e": b"3"}),
        # A later link takes an earlier file's name, and the other way round.
        ([("a", b"1"), ("b", b"2"), ("a", Link("b"))], {"a": b"2", "b": b"2"}),
        ([("a", Link("b")), ("b", b"2"), ("a", b"1")], {"a": b"1", "b": b"2"}),
        ([("a", b"1"), ("a", Link("nothing"))], {}),
    ],
)
@pytest.mark.parametrize("kind", FORMATS)
def test_names_and_links(members: list[tuple[str, Content]], found: dict[str, bytes], kind: int) -> None:
    assert contents(tar_of(members, kind)) == found


def test_numbers_in_base_256() -> None:
    info = tarfile.TarInfo("big")
    info.size = 9 << 30  # more than octal digits say
    with TemporaryFile() as stream:  # sparse
        stream.write(info.tobuf(tarfile.GNU_FORMAT))
        stream.truncate(BLOCK + info.size + 2 * BLOCK)
        assert index_tar(stream.fileno(), BLOCK + info.size + 2 * BLOCK, "a.tar")["big"].size == 9 << 30


WHOLE = tar_of({"first": b"1" * 700, "second": b"2"})


def _changed(at: int, data: bytes) -> bytes:
    return WHOLE[:at] + data + WHOLE[at + len(data) :]


def _extended(size: int) -> bytes:
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.XHDTYPE, size
    return info.tobuf(tarfile.USTAR_FORMAT)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "no tar archive"),
        (b"short", "no tar archive"),
        (bytes(2 * BLOCK), "no tar archive"),
        (b"x" * 5 * BLOCK, "no tar archive"),
        (_changed(0, b"F"), "no tar archive"),  # the checksum is another
        (_changed(3 * BLOCK, b"S"), "a damaged tar archive"),
        (WHOLE[: 2 * BLOCK], "cut short"),
        (WHOLE[: 3 * BLOCK + 10], "a damaged tar archive"),
        (_extended(100) + b"5 a=b" + bytes(BLOCK - 5), "a damaged pax header"),
        (_extended(100) + b"5 a=b", "cut short"),
        (_extended(1 << 30) + bytes(BLOCK), "more than an archive needs"),
        (_extended(6000) + b"6000 path=" + b"n" * 5989 + b"\n" + bytes(144), "a name of more than 4096"),
    ],
)
def test_what_is_no_archive(raw: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=f"a.tar: .*{message}"):
        contents(raw)


def test_the_zeros_at_the_end_may_lack() -> None:
    assert set(contents(WHOLE[: 5 * BLOCK])) == {"first", "second"}


def test_entries_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_index, "MAX_MEMBERS", 3)
    assert len(contents(tar_of({str(i): b"" for i in range(3)}))) == 3
    with pytest.raises(IntegrityError, match="more than 3 entries"):
        contents(tar_of({str(i): b"" for i in range(4)}))


@given(st.binary(max_size=4000), st.integers(0, len(WHOLE)))
def test_any_bytes_are_an_archive_or_an_error(data: bytes, at: int) -> None:
    for raw in (data, _changed(min(at, len(WHOLE) - len(data)), data) if len(data) < len(WHOLE) else data):
        with contextlib.suppress(IntegrityError):
            contents(raw)


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\0/"), min_size=1, max_size=120).filter(
    lambda name: name not in (".", "..")
)


@given(st.dictionaries(NAMES, st.binary(max_size=1500), max_size=6), st.sampled_from(FORMATS[1:]))
def test_what_pythons_writer_writes(files: dict[str, bytes], kind: int) -> None:
    if files:  # an archive of nothing has no header by which to know it
        assert contents(tar_of(files, kind)) == files
