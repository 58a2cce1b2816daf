"""Files on the disk, read with a bound and written in one step; what the disk refuses becomes a StorageError."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import BinaryIO

from polyarch.errors import DeniedError, StorageError, UsageError

FILE_MODE = 0o644
"""Of the files written here, whatever the umask; who may reach them is decided by the directories above."""

_FULL = (
    "free some space, then try again: what was fetched is kept "
    "(`polyarch image prune` takes that, too, with all that no image needs)"
)
_HINTS = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: _FULL,
    errno.EROFS: "choose a place that can be written to (for images and containers: --root)",
    errno.EACCES: "choose a place that this user may use (for images and containers: --root)",
    errno.EPERM: "choose a place that this user may use (for images and containers: --root)",
    errno.EIO: "the disk reports a fault: look at the kernel's log",
    errno.ENOLCK: "this file system has no locks: choose a local one with --root",
    errno.EOPNOTSUPP: "this file system has no locks: choose a local one with --root",
}


_DISK_FAULTS = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO, errno.ESTALE, errno.EUCLEAN, errno.ENXIO}


def disk_error(error: OSError, what: str) -> StorageError:
    """The StorageError for an OSError; `what` is what could not be done: "cannot write /var/lib/…"."""
    why = "it is closed" if error.errno == errno.EBADF else error.strerror or error
    kind = DeniedError if error.errno in (errno.EACCES, errno.EPERM) else StorageError
    return kind(f"{what}: {why}", _HINTS.get(error.errno or 0) or _in_the_way(error), errno=error.errno)


def _in_the_way(error: OSError) -> str | None:
    """What has to be moved away, where a folder is in a file's place or the other way round."""
    named = error.filename2 or error.filename
    if error.errno not in (errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.ENOTEMPTY) or not isinstance(named, str):
        return None
    path = Path(named)
    if error.errno == errno.ENOTDIR:
        path = next((each for each in (*reversed(path.parents), path) if each.exists() and not each.is_dir()), path)
    return f"it is in the way there: move {path} to another name"


def is_disk_fault(error: OSError) -> bool:
    """Whether it is the disk that refuses (full, faulty, read-only), and not what was asked of it."""
    return error.errno in _DISK_FAULTS


def is_fault(error: StorageError) -> bool:
    """Whether the disk could not do what was asked of it: nothing is known then of what is there."""
    return "errno" in error.details


def is_there(path: Path) -> bool:
    """True if there is something at `path` for this user: nothing is where a folder above is closed to it."""
    return os.path.exists(path)  # noqa: PTH110 - which raises no PermissionError


def absolute_path(text: str) -> Path:
    """The path that a person means by `text`; `~` and `~USER` are home folders, of users that there are.

    Raises UsageError where it is relative to a working directory that was removed.
    """
    try:
        return Path(os.path.expanduser(text)).absolute()  # noqa: PTH111 - which raises no RuntimeError
    except FileNotFoundError as error:
        raise no_working_directory() from error


def no_working_directory() -> UsageError:
    """The error of a relative path where there is nothing that it could be relative to."""
    return UsageError("the working directory was removed", "go to one that is there, with cd")


def is_without_working_directory(error: BaseException) -> bool:
    """Whether `error` came of asking where this process stands, and its working directory was removed."""
    if not isinstance(error, FileNotFoundError) or error.filename is not None:
        return False
    try:
        os.getcwd()  # noqa: PTH109 - which is what fails
    except FileNotFoundError:
        return True
    return False


def open_regular(path: Path) -> BinaryIO:
    """A plain file, open for reading; a device, a pipe or a directory in its place is a StorageError.

    Raises OSError where it cannot be opened.
    """

    def opened(_: str, flags: int) -> int:
        descriptor = os.open(path, flags | os.O_NONBLOCK)
        if stat.S_ISREG(os.fstat(descriptor).st_mode):
            return descriptor  # the stream's from here on: nobody else closes it, whatever interrupts this
        os.close(descriptor)
        raise StorageError(f"{path} is not a plain file")

    return open(path, "rb", opener=opened)  # Path.open takes no opener


def read_bounded(path: Path, limit: int) -> bytes:
    """The content of a plain file of at most `limit` bytes. Raises OSError and StorageError."""
    with open_regular(path) as stream:
        size = os.fstat(stream.fileno()).st_size  # asked for first: a buffer of `limit` bytes may be 32 MiB
        data = stream.read(min(size, limit) + 1)
        if size < len(data) <= limit:  # it grew, or the kernel makes it as it is read
            data += stream.read(limit + 1 - len(data))
    if len(data) > limit:
        raise StorageError(f"{path} is larger than {limit} bytes")
    return data


def make_directory(path: Path, mode: int) -> None:
    """Make the directory, and those above it that are missing, with exactly this mode; one that is there is left."""
    if path.is_dir():
        return
    make_directory(path.parent, mode)
    try:
        path.mkdir(mode)
        path.chmod(mode)  # the umask has taken its share
    except FileExistsError:
        if not path.is_dir():
            raise


def place_for(path: Path) -> Path:
    """Where a new file is to be put that shall be found at `path`: where that is a link, what it leads to is meant.

    Raises StorageError where something is there that a file must not take the place of, such as /dev/null; OSError.
    """
    if path.is_dir():
        raise StorageError(f"{path} is a folder")
    if path.exists() and not path.is_file():
        raise StorageError(f"{path} is no plain file", "leave the option out, and lead the output there")
    try:
        return Path(os.path.realpath(path))
    except FileNotFoundError as error:
        raise no_working_directory() from error


@contextlib.contextmanager
def new_file(file: Path) -> Iterator[Path]:
    """Where to write what takes the place of `file` in the end; nothing is left of it after a failure.

    What a killed process left beside `file` is removed. Raises UsageError where its folder is not there; StorageError,
    OSError.
    """
    place = place_for(file)
    if not is_there(place.parent):
        raise UsageError(f"{place.parent} does not exist", f"mkdir -p {place.parent}")
    name = place.name[:60]  # so that all of it fits into a name (255 bytes)
    new = place.with_name(f".{name}.{os.getpid()}.saving")
    try:
        for pattern in (f".{_escaped(name)}.*.saving", f"..{_escaped(name)}.*.saving.new"):
            for left in place.parent.glob(pattern):  # the second is what a storage writes, to be put at `new`
                if not _lives(left.name.removesuffix(".new").split(".")[-2]):
                    left.unlink(missing_ok=True)
        yield new
        new.replace(place)
    finally:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)


def _escaped(name: str) -> str:
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)


def _lives(pid: str) -> bool:
    return pid.isdigit() and Path(f"/proc/{pid}").exists()


def write_in_one_step(path: Path, data: bytes, temporary: Path, *, sync: bool) -> None:
    """Let `path` hold `data`: written to `temporary`, which is on the same file system, and renamed.

    `sync` waits until it is on the disk. The caller sees to it that nobody else uses `temporary`. Raises OSError.
    """
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
    with os.fdopen(descriptor, "wb") as stream:
        os.fchmod(descriptor, FILE_MODE)
        stream.write(data)
        stream.flush()
        if sync:
            os.fsync(descriptor)
    temporary.replace(path)
    if sync:
        sync_directory(path.parent)


def sync_file(path: Path) -> None:
    """Wait until the content of a file is on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_directory(path: Path) -> None:
    """Wait until the names in a directory are on the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def program(name: str, path: str | None = None) -> str | None:
    """Where the program `name` is, by PATH or the folders of `path`, as shutil.which says; None if it is nowhere."""
    folders = os.get_exec_path() if path is None else path.split(os.pathsep)
    for place in (name,) if os.sep in name else (os.path.join(folder, name) for folder in folders):  # noqa: PTH118
        if os.access(place, os.X_OK) and not os.path.isdir(place):  # noqa: PTH112
            return place
    return None


def random_name(size: int) -> str:
    """`size` random bytes that nobody can guess, in hexadecimal digits; without all that comes with `secrets`."""
    return os.urandom(size).hex()


def disk_usage(top: Path) -> int:
    """The bytes that a directory takes on the disk with all that is in it, a file with several names once."""
    seen: set[tuple[int, int]] = set()
    total = 0
    for folder, _, files in os.walk(top):
        for name in (".", *files):
            with contextlib.suppress(FileNotFoundError):
                status = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - a hundred thousand Paths are dear
                if (key := (status.st_dev, status.st_ino)) not in seen:
                    seen.add(key)
                    total += status.st_blocks * 512  # stat(2)
    return total


def freed_bytes(tops: Iterable[Path]) -> list[int]:
    """The bytes that come free on the disk when each of these directories goes, one after the other: a file with
    several names with the last of them, and not if it has one elsewhere.
    """
    left: dict[tuple[int, int], int] = {}
    freed = []
    for top in tops:
        total = 0
        for folder, _, files in os.walk(top):
            for name in (".", *files):
                with contextlib.suppress(FileNotFoundError):
                    status = os.lstat(os.path.join(folder, name))  # noqa: PTH118 - a hundred thousand Paths are dear
                    if name != "." and status.st_nlink > 1:
                        key = (status.st_dev, status.st_ino)
                        left[key] = left.get(key, status.st_nlink) - 1
                        if left[key]:
                            continue
                    total += status.st_blocks * 512  # stat(2)
        freed.append(total)
    return freed


@contextlib.contextmanager
def temporary_folder(parent: Path) -> Iterator[Path]:
    """A folder in `parent` for files that are of no use later; removed in the end, or by the next one after a kill.

    Raises StorageError.
    """
    import shutil
    import tempfile  # with many modules more; few commands need such a folder

    try:
        make_directory(parent, 0o700)
        sweep_temporary(parent)
        lock = None
        while lock is None:
            folder = Path(tempfile.mkdtemp(dir=parent))
            try:
                lock = _lock_folder(folder)
            except OSError:
                with contextlib.suppress(OSError):
                    folder.rmdir()
                raise
            if lock is not None and not folder.exists():  # another process took it for an old one before it was locked
                os.close(lock)
                lock = None
    except OSError as error:
        raise disk_error(error, f"cannot make a folder for temporary files in {parent}") from error
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def sweep_temporary(parent: Path) -> None:
    """Remove what killed processes left of `temporary_folder`. Raises OSError."""
    import shutil

    for old in parent.iterdir() if parent.is_dir() else ():
        if (lock := _lock_folder(old)) is not None:  # its owner is dead
            shutil.rmtree(old, ignore_errors=True)
            os.close(lock)


def _lock_folder(path: Path) -> int | None:
    """The open and locked folder; None if somebody else has it locked, or it is gone, or none. Raises OSError."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
