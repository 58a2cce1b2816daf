"""Files read with a bound and written in one step."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from polyarch.errors import StorageError
from polyarch.files import (
    disk_error,
    make_directory,
    open_regular,
    read_bounded,
    write_in_one_step,
)


@pytest.fixture(autouse=True)
def _hard_umask() -> Iterator[None]:
    before = os.umask(0o277)
    yield
    os.umask(before)


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    path, temporary = tmp_path / "name", tmp_path / ".new"
    temporary.write_bytes(b"left behind by a killed one, and longer")
    temporary.chmod(0o600)
    write_in_one_step(path, b"old", temporary, sync=True)
    with path.open("rb") as before:
        write_in_one_step(path, b"new", temporary, sync=False)
        assert before.read() == b"old"
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert not temporary.exists()


def test_directories_get_their_mode_whatever_the_umask(tmp_path: Path) -> None:
    make_directory(tmp_path / "a" / "b", 0o700)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o700
    (tmp_path / "a").chmod(0o755)
    make_directory(tmp_path / "a" / "c", 0o700)
    assert stat.S_IMODE((tmp_path / "a").stat().st_mode) == 0o755
    make_directory(tmp_path / "a" / "c", 0o755)
    assert stat.S_IMODE((tmp_path / "a" / "c").stat().st_mode) == 0o700


def test_a_file_in_the_way_of_a_directory_is_told(tmp_path: Path) -> None:
    (tmp_path / "a").touch()
    for path in (tmp_path / "a", tmp_path / "a" / "b"):
        with pytest.raises(FileExistsError):
            make_directory(path, 0o700)


def test_no_more_is_read_than_allowed(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"12345")
    assert read_bounded(path, 5) == b"12345"
    with pytest.raises(StorageError, match="larger than 4 bytes"):
        read_bounded(path, 4)


def test_only_plain_files_are_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises((StorageError, IsADirectoryError), match=r"plain file|directory"):
            open_regular(path)


@pytest.mark.parametrize(
    ("number", "hint"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "--root"),
        (errno.EACCES, "--root"),
        (errno.EIO, "kernel's log"),
        (errno.ENOLCK, "no locks"),
    ],
)
def test_what_the_disk_refuses_has_a_hint(number: int, hint: str) -> None:
    error = disk_error(OSError(number, os.strerror(number), "/file"), "cannot write /file")
    assert error.message == f"cannot write /file: {os.strerror(number)}"
    assert hint in (error.hint or "")
    assert error.exit_code == 9


def test_another_fault_has_no_hint() -> None:
    assert disk_error(OSError("odd"), "cannot write").message == "cannot write: odd"
    assert disk_error(OSError("odd"), "cannot write").hint is None
