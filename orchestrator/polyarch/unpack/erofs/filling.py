"""The entries of a layer put into a tree in memory, each by what it is."""

from __future__ import annotations

import errno

from polyarch.errors import printable
from polyarch.unpack.erofs import format as form
from polyarch.unpack.erofs.attributes import kept_attributes
from polyarch.unpack.erofs.holes import chunks
from polyarch.unpack.erofs.node import Data, Folder, Node
from polyarch.unpack.erofs.scanned import Row, Scanned
from polyarch.unpack.erofs.tree import MemoryTree
from polyarch.unpack.rules import Role, hidden_name, role_of, translated
from polyarch.unpack.stack import WHITEOUT
from polyarch.unpack.tar import Kind


def fill(tree: MemoryTree, scanned: Scanned) -> None:
    """Put all entries in. Raises IntegrityError for a hostile layer, Unfit."""
    for row in scanned:
        try:
            _put(tree, row)
        except OSError as error:
            shown = printable(row.path.decode("utf-8", "backslashreplace"), 200)
            raise translated(error, f"{scanned.where}: {row.kind.value} {shown!r}") from error


def _put(tree: MemoryTree, row: Row) -> None:
    path = row.path
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
        _hide(tree, above, name, role)
        return
    here = tree.into(above, make=True)
    if row.kind is Kind.DIRECTORY:
        _finish_directory(tree.put_directory(here, name), row)
    elif row.kind is Kind.HARD_LINK:
        tree.put_link(here, name, row.link.split(b"/") if row.link else ())
    else:
        xattrs = row.xattrs and row.kind is Kind.FILE and kept_attributes(row.xattrs, row.mode, directory=False)
        tree.put(here, name, Node(row.mode, row.uid, row.gid, row.mtime, row.size, _data(row), xattrs or None))


def _hide(tree: MemoryTree, above: bytes, name: bytes, role: Role) -> None:
    try:
        here = tree.into(above, make=False)
    except (FileNotFoundError, NotADirectoryError):
        return  # nothing is there that could be hidden
    if role is Role.HIDES_ALL:
        tree.hide_all(here)
    else:
        tree.hide(here, hidden_name(name))


def _data(row: Row) -> Data:
    if row.kind is Kind.FILE:
        return row.offset if row.segments is None else chunks(row.size, row.offset, row.segments)
    if row.kind is Kind.SYMLINK:
        return row.link
    if row.kind is Kind.CHARACTER and row.device == (0, 0):
        raise OSError(errno.EINVAL, "overlayfs' own whiteout")
    return form.encoded_device(*row.device)


def _finish_directory(folder: Folder, row: Row) -> None:
    folder.mode, folder.uid, folder.gid, folder.mtime = row.mode, row.uid, row.gid, row.mtime
    folder.xattrs = kept_attributes(row.xattrs, row.mode, directory=True) if row.xattrs else None
