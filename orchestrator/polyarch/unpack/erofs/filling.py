"""The entries of a layer put into a tree in memory, each by what it is."""

from __future__ import annotations

import errno

from polyarch.errors import printable
from polyarch.unpack.erofs.attributes import kept_attributes
from polyarch.unpack.erofs.content import Chunks
from polyarch.unpack.erofs.holes import MAX_CHUNKS, chunks
from polyarch.unpack.erofs.node import Folder, Node
from polyarch.unpack.erofs.scanned import Row, Scanned
from polyarch.unpack.erofs.tree import MemoryTree
from polyarch.unpack.rules import Role, lay_whiteout, role_of, translated
from polyarch.unpack.stack import WHITEOUT
from polyarch.unpack.tar import Kind


def fill(tree: MemoryTree, scanned: Scanned) -> None:
    """Put all entries in. Raises IntegrityError for a hostile layer, Unfit."""
    filling = _Filling(tree)
    for number, row in enumerate(scanned):
        try:
            filling.put(row, number)
        except OSError as error:
            shown = printable(row.path.decode("utf-8", "backslashreplace"), 200)
            raise translated(error, f"{scanned.where}: {row.kind.value} {shown!r}") from error


class _Filling:
    def __init__(self, tree: MemoryTree) -> None:
        self._tree = tree
        self._chunks_left = MAX_CHUNKS

    def put(self, row: Row, number: int) -> None:
        tree, path = self._tree, row.path
        role = Role.ENTRY
        if not path or WHITEOUT in path:
            role = role_of(path.split(b"/") if path else (), row.kind)
            if role is Role.IGNORED:
                return
            if role is Role.ROOT:
                _finish_directory(tree.root, row)
                return
        above, _, name = path.rpartition(b"/")
        if role is not Role.ENTRY:
            lay_whiteout(tree, lambda: tree.into(above, make=False), name, role)
            return
        here = tree.into(above, make=True)
        if row.kind is Kind.DIRECTORY:
            _finish_directory(tree.put_directory(here, name), row)
        elif row.kind is Kind.HARD_LINK:
            tree.put_link(here, name, row.link.split(b"/") if row.link else ())
        elif row.kind is Kind.CHARACTER and row.device == (0, 0):
            raise OSError(errno.EINVAL, "overlayfs' own whiteout")
        elif row.kind is Kind.FILE and (row.xattrs or row.segments is not None):
            xattrs = kept_attributes(row.xattrs, row.mode, directory=False) if row.xattrs else None
            node = Node(row.mode, row.uid, row.gid, row.mtime, row.size, self._data(row), xattrs or None)
            tree.put(here, name, node)
        else:
            tree.put(here, name, number)

    def _data(self, row: Row) -> int | Chunks:
        if row.segments is None:
            return row.offset
        made = chunks(row.size, row.offset, row.segments, self._chunks_left)
        self._chunks_left -= len(made.places)
        return made


def _finish_directory(folder: Folder, row: Row) -> None:
    folder.mode, folder.uid, folder.gid, folder.mtime = row.mode, row.uid, row.gid, row.mtime
    folder.xattrs = kept_attributes(row.xattrs, row.mode, directory=True) if row.xattrs else None
