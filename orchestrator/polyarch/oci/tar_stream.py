"""Tar archives that are made while they are sent: nothing of them is ever whole in memory or on the disk."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from tarfile import BLOCKSIZE, GNU_FORMAT, TarInfo

from polyarch.errors import StorageError
from polyarch.files import disk_error
from polyarch_platforms.lazy_dataclass import dataclass

CHUNK = 1 << 18
"""Bytes that come at a time, at most, where the members' own chunks are no larger."""


@dataclass(frozen=True, slots=True)
class TarMember:
    """A file in an archive: its name, its size in bytes, and what gives these."""

    name: str
    size: int
    chunks: Callable[[], Iterable[bytes]]

    @property
    def header(self) -> bytes:
        """What stands in front of it."""
        info = TarInfo(self.name)
        info.size = self.size
        return info.tobuf(GNU_FORMAT)


class OtherSize(StorageError):
    """A member has more bytes than its header says, or fewer. None of what is beyond was given out."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is of another size than was stated", "pull the image again")
        self.name = name


def tar_chunks(members: Iterable[TarMember]) -> Iterator[bytes]:
    """The bytes of a tar archive of plain files. Raises OtherSize, and what the members' chunks raise."""
    for member in members:
        yield member.header
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


def tar_size(members: Iterable[TarMember]) -> int:
    """How many bytes `tar_chunks` gives for these."""
    return sum(len(each.header) + each.size + -each.size % BLOCKSIZE for each in members) + 2 * BLOCKSIZE


def bytes_member(name: str, raw: bytes) -> TarMember:
    """A member that is at hand."""
    return TarMember(name, len(raw), lambda: (raw[at : at + CHUNK] for at in range(0, len(raw), CHUNK)))


def file_member(name: str, path: Path, size: int) -> TarMember:
    """A member as it is in a file of this size. Its chunks raise StorageError where that cannot be read."""
    return TarMember(name, size, partial(_chunks, path))


def _chunks(path: Path) -> Iterator[bytes]:
    try:
        with path.open("rb") as stream:
            while chunk := stream.read(CHUNK):
                yield chunk
    except OSError as error:
        raise disk_error(error, f"cannot read {path}") from error
