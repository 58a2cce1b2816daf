"""Tar archives that engines load, made while they are sent: nothing of them is ever in memory or on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tarfile import BLOCKSIZE, GNU_FORMAT, TarInfo

from polyarch.contract import StorageError, disk_error

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: its name, its size in bytes, and what gives these."""

    name: str
    size: int
    chunks: Callable[[], Iterable[bytes]]


class OtherSize(StorageError):
    """A member has more bytes than its header says, or fewer. None of what is beyond was given out."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is of another size than was stated", "pull the image again")
        self.name = name


def tar(members: Iterable[Member]) -> Iterator[bytes]:
    """The bytes of a tar archive of plain files. Raises OtherSize, and what the members' chunks raise."""
    for member in members:
        header = TarInfo(member.name)
        header.size = member.size
        yield header.tobuf(GNU_FORMAT)
        left = member.size
        for chunk in member.chunks():
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
        if left != 0:
            raise OtherSize(member.name)
        if padding := -member.size % BLOCKSIZE:
            yield bytes(padding)
    yield bytes(2 * BLOCKSIZE)


def document(name: str, raw: bytes) -> Member:
    """A member that is at hand."""
    return Member(name, len(raw), lambda: (raw,))


def file(name: str, path: Path, size: int) -> Member:
    """A member as it is in a file of this size. Its chunks raise StorageError where that cannot be read."""
    return Member(name, size, partial(_chunks, path))


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                yield chunk
    except OSError as error:
        raise disk_error(error, f"cannot read {path}") from error
