"""What an entry of a tar archive is."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import field
from typing import NamedTuple

from polyarch.errors import printable
from polyarch.unpack.sparse import Segments
from polyarch_platforms.lazy_dataclass import dataclass


class Kind(enum.Enum):
    """What an entry is."""

    FILE = "file"
    HARD_LINK = "hard link"
    SYMLINK = "symlink"
    CHARACTER = "character device"
    BLOCK = "block device"
    DIRECTORY = "directory"
    FIFO = "FIFO"


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. Names are bytes as they are in the archive; `parts` is the name cut at its slashes, without `.` and
    empty parts, and () for the root directory itself. `mtime` is in nanoseconds, `mode` has the twelve permission bits.

    The content begins at `offset` of the uncompressed stream. Of a file with holes `segments` are what is stored, one
    piece behind the other; `size` is with the holes.
    """

    name: bytes
    parts: tuple[bytes, ...]
    kind: Kind
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes = b""
    device: tuple[int, int] = (0, 0)
    xattrs: Mapping[str, bytes] = field(default_factory=dict)
    offset: int = field(default=0, compare=False)
    segments: Segments | None = None

    @property
    def shown(self) -> str:
        """The name, fit for a message."""
        return printable(self.name.decode("utf-8", "backslashreplace"), 200)


class Outline(NamedTuple):
    """What an entry is called and is: all that somebody needs who looks for a name. `path` is the name without a slash
    in front or behind, without `.` and empty parts, b"" for the root directory itself.
    """

    path: bytes
    kind: Kind
    size: int
    link: bytes
