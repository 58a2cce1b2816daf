"""Files read with a bound and written in one step."""

from __future__ import annotations

import errno
import itertools
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from polyarch.errors import StorageError
from polyarch.files import (
    disk_error,
    make_directory,
    open_regular,
    place_for,
    program,
    read_bounded,
    temporary_folder,
    write_in_one_step,
)


@pytest.fixture(autouse=True)
def _hard_umask() -> Iterator[None]:
    before = os.umask(0o277)
    yield
    os.umask(before)


def test_an_interrupted_opening_says_so(tmp_path: Path) -> None:
    """Wherever Ctrl-C meets it, that comes out: who closed the file twice came to "Bad file descriptor" instead."""
    path = tmp_path / "file"
    path.write_bytes(b"x")
    left = 0

    def interrupt(*_: object) -> None:
        nonlocal left
        left -= 1
        if left == 0:
            sys.setprofile(None)
            raise KeyboardInterrupt

    for number in itertools.count(1):
        left = number
        sys.setprofile(interrupt)  # called where a function of Python's or of C's begins, and where one ends
        try:
            open_regular(path).close()
            sys.setprofile(None)
        except KeyboardInterrupt:
            continue
        break
    assert number > 5


def test_where_a_new_file_is_put(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link-to-pipe").symlink_to("pipe")
    assert place_for(tmp_path / "link") == place_for(tmp_path / "file") == tmp_path / "file"
    assert place_for(tmp_path / "new") == tmp_path / "new"
    assert place_for(tmp_path / "loop") == tmp_path / "loop"
    for name in ("pipe", "link-to-pipe", "."):
        with pytest.raises(StorageError, match=r"no plain file|is a folder"):
            place_for(tmp_path / name)


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
        (errno.ENOSPC, "what was fetched is kept (`polyarch image prune` takes that, too"),
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
    assert error.exit_code == (8 if number == errno.EACCES else 9)


def test_another_fault_has_no_hint() -> None:
    assert disk_error(OSError("odd"), "cannot write").message == "cannot write: odd"
    assert disk_error(OSError("odd"), "cannot write").hint is None


def test_a_temporary_folder_goes_with_what_is_in_it(tmp_path: Path) -> None:
    parent = tmp_path / "missing" / "temporary"
    with temporary_folder(parent) as folder:
        assert folder.parent == parent
        assert stat.S_IMODE(parent.stat().st_mode) == 0o700
        (folder / "deep").mkdir()
        (folder / "deep").chmod(0o700)
        (folder / "deep" / "file").write_bytes(b"of no use later")
    assert list(parent.iterdir()) == []


def test_a_temporary_folder_goes_after_a_failure(tmp_path: Path) -> None:
    def fail() -> None:
        with temporary_folder(tmp_path) as folder:
            (folder / "file").write_bytes(b"of no use later")
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert list(tmp_path.iterdir()) == []


def test_temporary_folders_of_others_in_use_stay(tmp_path: Path) -> None:
    with temporary_folder(tmp_path) as one, temporary_folder(tmp_path) as other:
        assert one != other
        (one / "file").write_bytes(b"in use")
        with temporary_folder(tmp_path):
            assert (one / "file").read_bytes() == b"in use"
            assert other.is_dir()


def test_what_a_killed_process_left_goes_with_the_next_one(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys\n"
        "from polyarch.files import temporary_folder\n"
        "with temporary_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'big').write_bytes(b'left')\n"
        "    print(folder, flush=True)\n"
        "    sys.stdin.read()\n"
    )
    argv = [sys.executable, "-c", code, str(tmp_path)]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        left = Path(process.stdout.readline().strip())
        with temporary_folder(tmp_path):
            assert (left / "big").read_bytes() == b"left"  # its owner lives
        process.kill()
    assert left.exists()
    with temporary_folder(tmp_path) as folder:
        assert list(tmp_path.iterdir()) == [folder]


def test_many_make_temporary_folders_at_once(tmp_path: Path) -> None:
    """A folder that is made and not yet locked may be taken for one of the dead: then another is made."""

    def make(_: int) -> None:
        with temporary_folder(tmp_path) as folder:
            (folder / "file").write_bytes(b"own")
            assert (folder / "file").read_bytes() == b"own"

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(400)))
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_temporary_folder_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"of somebody else")
    with temporary_folder(tmp_path):
        pass
    assert (tmp_path / "file").read_bytes() == b"of somebody else"


def test_a_temporary_folder_where_none_can_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="cannot make a folder for temporary files"):
        with temporary_folder(tmp_path / "file" / "below"):
            pass


def test_a_program_is_found_as_everybody_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    for folder in (one, two):
        folder.mkdir()
    (one / "plain").touch(0o644)
    (one / "folder").mkdir()
    for name in ("plain", "folder", "tool"):
        (two / name).touch(0o755)
    (one / "broken").symlink_to("nothing")
    monkeypatch.setenv("PATH", f"{one}:{two}:{tmp_path / 'none'}")
    for name in ("plain", "folder", "tool", "broken", "missing", str(two / "tool"), str(one / "plain")):
        assert program(name) == shutil.which(name)
        assert program(name, str(one)) == shutil.which(name, path=str(one))


def test_what_is_in_the_way_is_named(tmp_path: Path) -> None:
    """A file where a folder is due, and the other way round."""
    plain, folder = tmp_path / "plain", tmp_path / "folder"
    plain.touch()
    folder.mkdir()
    acts: dict[Path, list[Callable[[], object]]] = {
        plain: [lambda: make_directory(plain, 0o700), (plain / "deep" / "file").read_bytes],
        folder: [folder.unlink, lambda: plain.rename(folder)],
    }
    for path, tried in acts.items():
        for act in tried:
            with pytest.raises(OSError) as caught:
                act()
            assert f"move {path} to" in str(disk_error(caught.value, "cannot").hint)
