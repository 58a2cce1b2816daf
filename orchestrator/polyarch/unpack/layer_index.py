"""What one layer holds, by name, found in one walk; and the first bytes of the files that somebody may ask for."""

from __future__ import annotations

import abc
import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Literal, cast

from polyarch.unpack.limits import LayerLimits
from polyarch.unpack.stack import OPAQUE, WHITEOUT
from polyarch.unpack.stream import LayerStream
from polyarch.unpack.tar import Kind, Outline, TarReader
from polyarch_platforms.lazy_dataclass import dataclass

MAX_CONTENT = 64 << 20
"""Bytes of one file that are kept."""

_IN_MEMORY = 1 << 20
_MAX_KEPT = 4 * MAX_CONTENT
_MAX_HARD_LINKS = 8  # one that names one that names one: tar programs name the first of all


@dataclass(frozen=True, slots=True)
class Content:
    """The first `MAX_CONTENT` bytes of a file that has `size`."""

    stream: BinaryIO
    size: int


@dataclass(frozen=True, slots=True)
class Node:
    """What has a name: a directory, a symlink to `target`, or a file; for a hard link, `target` is the file's path.

    Devices and FIFOs are files without content.
    """

    kind: Literal["directory", "file", "symlink"]
    target: bytes = b""


_DIRECTORY, _FILE = Node("directory"), Node("file")


class Names(abc.ABC):
    """What has a name in a layer; paths have no slash in front."""

    def __init__(self) -> None:
        # Two zero bytes, a path, one zero byte, a letter, a link's target, and so on: a hundred thousand names in a few
        # megabytes. Of several with one path the last one counts.
        self._names = bytearray()
        self._whiteouts: set[bytes] = set()
        self._opaque: set[bytes] = set()
        self._found: dict[bytes, Node | None] = {}  # what was asked for once is asked for again with each layer

    def add(self, path: bytes, kind: Kind, link: bytes) -> bytes | None:
        """Take an entry, of a hard link with the path of its target; the last part of its path, None of what is no
        file, directory or device.
        """
        if not path:
            return None
        name = path[path.rfind(b"/") + 1 :]
        if name.startswith(WHITEOUT):
            if name == OPAQUE:
                self._opaque.add(path[: -len(name) - 1])
            else:
                self._whiteouts.add(path[: -len(name)] + name.removeprefix(WHITEOUT))
        elif kind is Kind.SYMLINK or kind is Kind.HARD_LINK:
            self._names += b"\0\0%b\0%b%b" % (path, b"L" if kind is Kind.SYMLINK else b"H", link)
        else:
            self._names += b"\0\0%b\0%b" % (path, b"D" if kind is Kind.DIRECTORY else b"F")
            return name
        return None

    def node(self, path: bytes) -> Node | None:
        """What this layer itself has at `path`; its parents are not looked at."""
        if path not in self._found:
            self._found[path] = self._find(path)
        return self._found[path]

    def _find(self, path: bytes) -> Node | None:
        record = b"\0\0%b\0" % path
        at = self._names.rfind(record)
        if at < 0:
            # Only implied. (`rfind`, because `in` is many times slower for what begins with zeros.)
            return _DIRECTORY if self._names.rfind(b"\0\0%b/" % path) >= 0 else None
        kind, start = self._names[at + len(record)], at + len(record) + 1
        if kind in b"LH":
            end = self._names.find(b"\0", start)
            target = bytes(self._names[start : end if end >= 0 else len(self._names)])
            return Node("symlink" if kind == ord("L") else "file", target)
        return _DIRECTORY if kind == ord("D") else _FILE

    def hides(self, path: bytes) -> bool:
        """True if nothing of the lower layers is seen at `path`."""
        while path:
            parent = path.rpartition(b"/")[0]
            if path in self._whiteouts or parent in self._opaque:
                return True
            if parent and (node := self.node(parent)) is not None and node.kind != "directory":
                return True
            path = parent
        return False

    def file_of(self, path: bytes) -> bytes | None:
        """The path of the file that `path` is another name of, perhaps itself; None where there is no file."""
        for _ in range(_MAX_HARD_LINKS):
            node = self.node(path)
            if node is None or node.kind != "file":
                return None
            if not node.target:
                break
            path = node.target
        return path

    @abc.abstractmethod
    def content(self, path: bytes) -> Content | None:
        """The content of a file of this layer; None of what is none."""


class LayerIndex(Names):
    """The names in a layer, walked for it. `wanted` are names of files whose content is kept; `met` is called for each.

    Raises IntegrityError where the layer is no sound archive.
    """

    def __init__(
        self,
        open_layer: Callable[[], BinaryIO],
        where: str,
        wanted: Iterable[bytes],
        met: Callable[[], None] = lambda: None,
        *,
        limits: LayerLimits | None = None,
    ) -> None:
        super().__init__()
        self._limits = limits
        self._open = open_layer
        self._where = where
        self._wanted = frozenset(wanted)
        self._met = met
        self._contents: dict[bytes, Content] = {}
        self._kept = 0
        with self._reader() as reader:
            for outline in reader.outlines():
                self._take(outline, reader)

    @contextlib.contextmanager
    def _reader(self) -> Iterator[TarReader]:
        with self._open() as source:
            stream = LayerStream(source, self._where, limits=self._limits)
            try:
                yield TarReader(stream)
            finally:
                stream.close()

    def _take(self, outline: Outline, reader: TarReader) -> None:
        path, kind, size, link = outline
        name = self.add(path, kind, reader.path(link) if kind is Kind.HARD_LINK else link)
        if name in self._wanted:
            self._met()
            self._contents.pop(path, None)  # of an entry before this one, which is the one that counts
            if kind is Kind.FILE and self._kept < _MAX_KEPT:
                self._kept += size
                self._contents[path] = _content(size, reader)

    def content(self, path: bytes) -> Content | None:
        """The content of a file of this layer; a second walk brings it if it was not wanted before."""
        file = self.file_of(path)
        if file is None:
            return None
        if file not in self._contents:
            self._fetch(file)
        return self._contents.get(file)

    def _fetch(self, path: bytes) -> None:
        """Keep the content of the last file of this name."""
        left = sum(self._names.count(b"\0\0%b\0%b" % (path, kind)) for kind in (b"D", b"F"))
        with self._reader() as reader:
            for outline in reader.outlines():
                if outline.path == path and not outline.link:
                    left -= 1
                    if left <= 0:
                        if outline.kind is Kind.FILE:
                            self._contents[path] = _content(outline.size, reader)
                        return


def _content(size: int, reader: TarReader) -> Content:
    stream = cast("BinaryIO", tempfile.SpooledTemporaryFile(_IN_MEMORY))  # noqa: SIM115  # closed with its index
    left = MAX_CONTENT
    for part in reader.parts():
        stream.write(part[:left])
        left -= min(left, len(part))
        if not left:
            break
    return Content(stream, size)
