"""What a layer has at a path, in memory, until its metadata is written."""

from __future__ import annotations

import stat
from collections.abc import Mapping
from typing import TYPE_CHECKING

from polyarch.unpack.erofs.content import Data

if TYPE_CHECKING:
    from polyarch.unpack.erofs.reader import Part


class Node:
    """A file, symlink, device or FIFO; of a hard-linked one there is one node with several names.

    `mode` is as `stat` has it, `mtime` in nanoseconds. `data` is of a regular file where its bytes are (an offset in
    the archive, `Stored` or `Chunks`), of a symlink its target, of a device its encoded number. `nid` and `links` are
    the writer's.
    """

    __slots__ = ("data", "gid", "links", "mode", "mtime", "nid", "size", "uid", "xattrs")

    def __init__(
        self,
        mode: int,
        uid: int,
        gid: int,
        mtime: int,
        size: int = 0,
        data: Data = 0,
        xattrs: Mapping[str, bytes] | None = None,
    ) -> None:
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.mtime = mtime
        self.size = size
        self.data = data
        self.xattrs = xattrs
        self.nid = 0
        self.links = 0


class Folder(Node):
    """A directory called `name` in another, `above` (the root is in itself), with what is in it: most of it as a
    number, which is an entry of the layer just as `Scanned.node` tells it, because that takes a third of the memory.

    `opaque`: overlayfs shows nothing of the lower layers in it. `below` are the directories of lower layers that are
    seen through it, the topmost first; None where nobody has asked yet. `only_marks`: this layer itself brings nothing
    that is in it.
    """

    __slots__ = ("above", "below", "depth", "name", "names", "only_marks", "opaque")

    def __init__(self, above: Folder | None, name: bytes, mode: int) -> None:
        super().__init__(stat.S_IFDIR | mode, 0, 0, 0)
        self.above: Folder = above or self
        self.name = name
        self.names: dict[bytes, Node | int] = {}
        self.opaque = False
        self.below: tuple[Part, ...] | None = None
        self.only_marks = False
        self.depth: int = above.depth + 1 if above else 0
