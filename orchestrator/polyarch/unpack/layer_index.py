"""What one layer holds, by name, found in one walk; and the first bytes of the files that somebody may ask for."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from typing import BinaryIO, Literal, cast

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


class LayerIndex:
    """The names in a layer, as paths without a slash in front. `wanted` are names of files whose content is kept.

    Raises IntegrityError where the layer is no sound archive.
    """

    def __init__(self, open_layer: Callable[[], BinaryIO], where: str, wanted: Iterable[bytes]) -> None:
        self._open = open_layer
        self._where = where
        self._wanted = frozenset(wanted)
        # Two zero bytes, a path, one zero byte, D or F, and so on: a hundred thousand names in a few megabytes.
        self._names = bytearray()
        self._links: dict[bytes, Node] = {}
        self._whiteouts: set[bytes] = set()
        self._opaque: set[bytes] = set()
        self._contents: dict[bytes, Content] = {}
        self._found: dict[bytes, Node | None] = {}  # what was asked for once is asked for again with each layer
        self._kept = 0
        with self._reader() as reader:
            for outline in reader.outlines():
                self._add(outline, reader)

    @contextlib.contextmanager
    def _reader(self) -> Iterator[TarReader]:
        with self._open() as source:
            stream = LayerStream(source, self._where)
            try:
                yield TarReader(stream)
            finally:
                stream.close()

    def _add(self, outline: Outline, reader: TarReader) -> None:
        path, kind, size, link = outline
        if not path:
            return
        name = path[path.rfind(b"/") + 1 :]
        if name.startswith(WHITEOUT):
            if name == OPAQUE:
                self._opaque.add(path[: -len(name) - 1])
            else:
                self._whiteouts.add(path[: -len(name)] + name.removeprefix(WHITEOUT))
        elif link:
            self._links[path] = Node("symlink", link) if kind is Kind.SYMLINK else Node("file", reader.path(link))
        else:
            self._links.pop(path, None)
            self._names += b"\0\0%b\0%b" % (path, b"D" if kind is Kind.DIRECTORY else b"F")
            if name in self._wanted:
                self._contents.pop(path, None)  # of an entry before this one, which is the one that counts
                if kind is Kind.FILE and self._kept < _MAX_KEPT:
                    self._kept += size
                    self._contents[path] = _content(size, reader)

    def node(self, path: bytes) -> Node | None:
        """What this layer itself has at `path`; its parents are not looked at."""
        if path not in self._found:
            self._found[path] = self._find(path)
        return self._found[path]

    def _find(self, path: bytes) -> Node | None:
        if path in self._links:
            return self._links[path]
        record = b"\0\0%b\0" % path
        at = self._names.rfind(record)
        if at >= 0:
            return _DIRECTORY if self._names[at + len(record)] == ord("D") else _FILE
        below = path + b"/"
        # Only implied. (`rfind`, because `in` is many times slower for what begins with zeros.)
        if self._names.rfind(b"\0\0" + below) >= 0 or any(link.startswith(below) for link in self._links):
            return _DIRECTORY
        return None

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

    def content(self, path: bytes) -> Content | None:
        """The content of a file of this layer; a second walk brings it if it was not wanted before."""
        for _ in range(_MAX_HARD_LINKS):
            node = self.node(path)
            if node is None or node.kind != "file":
                return None
            if not node.target:
                break
            path = node.target
        if path not in self._contents:
            self._fetch(path)
        return self._contents.get(path)

    def _fetch(self, path: bytes) -> None:
        """Keep the content of the last file of this name."""
        left = self._names.count(b"\0\0%b\0" % path)
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
