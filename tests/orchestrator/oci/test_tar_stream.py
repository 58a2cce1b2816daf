"""Tar archives made while they are sent, against the standard library's reader."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import StorageError
from polyarch.oci.tar_stream import (
    CHUNK,
    OtherSize,
    TarMember,
    bytes_member,
    file_member,
    tar_chunks,
    tar_size,
)

BLOCK = tarfile.BLOCKSIZE


def files_of(chunks: Iterable[bytes]) -> dict[str, bytes]:
    """The files in a tar archive, as the standard library reads it."""
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks)), mode="r:") as opened:
        return {each.name: opened.extractfile(each).read() for each in opened}  # type: ignore[union-attr]


@given(st.dictionaries(st.text("abc/.-_0", min_size=1, max_size=150).map(lambda name: f"x{name}x"), st.binary()))
def test_any_files_make_a_tar_archive(files: dict[str, bytes]) -> None:
    members = [TarMember(name, len(data), lambda data=data: (data[:7], data[7:])) for name, data in files.items()]  # type: ignore[misc]
    made = b"".join(tar_chunks(members))
    assert len(made) % BLOCK == 0
    assert len(made) == tar_size(members)
    assert files_of([made]) == files


@pytest.mark.parametrize("size", [1, 9, 11, 10 + BLOCK], ids="of {} bytes".format)
def test_a_member_of_another_size_is_told(size: int) -> None:
    sent: list[bytes] = []
    with pytest.raises(OtherSize, match="layer"):
        sent.extend(tar_chunks([TarMember("layer", size, lambda: (b"01234", b"56789"))]))
    assert sum(len(chunk) for chunk in sent) - BLOCK <= size
    with pytest.raises(tarfile.TarError):
        files_of(sent)


def test_no_chunk_is_large(tmp_path: Path) -> None:
    data = bytes(range(256)) * (CHUNK // 100)
    (tmp_path / "file").write_bytes(data)
    members = [bytes_member("at hand", data), file_member("file", tmp_path / "file", len(data))]
    chunks = list(tar_chunks(members))
    assert max(map(len, chunks)) == CHUNK
    assert files_of(chunks) == {"at hand": data, "file": data}


def test_a_file_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="gone"):
        list(tar_chunks([file_member("file", tmp_path / "gone", 1)]))
