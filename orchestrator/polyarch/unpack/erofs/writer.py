"""Writing a tree as EROFS metadata: inodes, directories, extended attributes, symlinks, and the bytes that a layer
brings without having them in its archive.

::

    0      zeros
    1024   the superblock, the archive's device slot
    1280   inodes, the root's first, each with its extended attributes, chunk list, and a symlink's or a small
           directory's content
    …      blocks of larger directories and long symlinks, then of copied files
"""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Iterable, Iterator
from operator import itemgetter
from typing import BinaryIO

from polyarch.unpack.erofs import format as form
from polyarch.unpack.erofs.content import Chunks, Stored, Unfit
from polyarch.unpack.erofs.node import Folder, Node
from polyarch.unpack.erofs.scanned import Scanned

_INLINE = form.BLOCK - (1 << form.SLOT_BITS)  # more cannot be put so that it lies within one block
_PAGE = 4096
_PART = 1 << 20


def write_metadata(file: BinaryIO, root: Folder, scanned: Scanned, uuid: bytes = b"") -> None:
    """Write the tree into a new file; `scanned` is the layer that it was made of. `uuid` (16 bytes) is
    another one for each layer of an image: by it overlayfs knows where a file was copied up from (fs/overlayfs/super.c,
    `ovl_lower_uuid_ok`), without it the names of a file with several get different inode numbers.

    Raises OSError; Unfit where the format cannot hold it.
    """
    _Writer(file, scanned, uuid).write(root)


class _Writer:
    def __init__(self, file: BinaryIO, scanned: Scanned, uuid: bytes) -> None:
        self._file = file
        self._scanned = scanned
        self._nids = array("Q", bytes(8 * len(scanned)))  # of entries that have no node of their own
        self._uuid = uuid
        self._blocks = -(-scanned.size // form.BLOCK)
        if self._blocks >= form.ARCHIVE:
            raise Unfit("an archive of more than a tebibyte")
        self._count = 0
        self._chunked = False
        self._next_block = 0
        self._late: list[bytes | Stored] = []  # in the order of their blocks, behind all inodes

    def write(self, root: Folder) -> None:
        order = list(_walk(root))
        end = self._place(order)
        self._next_block = -(-end // form.BLOCK)
        at = form.FIRST_INODE
        self._file.seek(at)
        for each in order:
            node = self._node(each)
            start, inode = node.nid << form.SLOT_BITS, self._inode(node)
            self._file.write(bytes(start - at) + inode)
            at = start + len(inode)
        self._file.write(bytes(-at % form.BLOCK))
        for late in self._late:
            self._write_late(late)
        self._file.write(bytes(-self._file.tell() % _PAGE))
        self._file.seek(0)
        self._file.write(bytes(form.SUPER_OFFSET) + self._superblock(root.nid))

    def _superblock(self, root_nid: int) -> bytes:
        incompatible = form.INCOMPAT_DEVICE_TABLE | (form.INCOMPAT_CHUNKED_FILE if self._chunked else 0)
        superblock = form.SUPER.pack(
            *(form.MAGIC, 0, form.COMPAT_MTIME, form.BLOCK_BITS, 0, root_nid, self._count, 0, 0),
            *(self._next_block, 0, 0, self._uuid, b"", incompatible, 0, 1, form.DEVICE_OFFSET // form.DEVICE_SLOT, 0),
            *(0, 0, 0, 0),
        )
        return superblock + form.DEVICE.pack(self._scanned.tag, self._blocks, form.ARCHIVE)

    def _node(self, each: Node | int) -> Node:
        if not isinstance(each, int):
            return each
        node = self._scanned.node(each)
        node.nid, node.links = self._nids[each], 1
        return node

    def _place(self, order: Iterable[Node | int]) -> int:
        """Give every inode its number; where the last one ends."""
        end = form.FIRST_INODE
        for each in order:
            node = self._node(each)
            self._count += 1
            size = form.INODE_SIZE
            if node.xattrs or _is_opaque(node):
                size += len(_xattrs(node))
            inline = _inline_size(node, size)
            if isinstance(node.data, Chunks):
                size += 4 * len(node.data.places)
            if inline and (end + size) % form.BLOCK + inline > form.BLOCK:
                start = end + size
                end = start + -start % form.BLOCK - size
                end += -end % (1 << form.SLOT_BITS)
            node.nid = end >> form.SLOT_BITS
            if isinstance(each, int):
                self._nids[each] = node.nid
            end += size + inline
            end += -end % (1 << form.SLOT_BITS)
        return end

    def _inode(self, node: Node) -> bytes:
        """An inode with what stands behind it."""
        xattrs = _xattrs(node) if node.xattrs or _is_opaque(node) else b""
        layout, size, where, tail = self._data(node, form.INODE_SIZE + len(xattrs))
        seconds, nanoseconds = divmod(node.mtime, 1_000_000_000)
        inode = form.INODE.pack(
            form.EXTENDED | layout << 1,
            (len(xattrs) - form.XATTR_HEADER) // 4 + 1 if xattrs else 0,
            node.mode,
            size,
            where,
            node.nid & 0xFFFFFFFF,
            node.uid,
            node.gid,
            seconds,
            nanoseconds,
            node.links,
        )
        return inode + xattrs + tail

    def _data(self, node: Node, head: int) -> tuple[int, int, int, bytes]:
        """The layout of an inode, its size, its field `i_u`, and what follows its `head` bytes."""
        data = node.data
        if isinstance(node, Folder):
            data = self._directory(node)
        if isinstance(data, bytes):
            if _inline_size(node, head):
                return form.FLAT_INLINE, len(data), 0, data
            return form.FLAT_PLAIN, len(data), self._take(data, len(data)), b""
        if isinstance(data, Chunks):
            self._chunked = True
            places = (form.NO_BLOCK if place is None else self._address(place) for place in data.places)
            return (
                form.CHUNK_BASED,
                node.size,
                data.bits - form.BLOCK_BITS,
                b"".join(place.to_bytes(4, "little") for place in places),
            )
        if not stat.S_ISREG(node.mode):
            assert isinstance(data, int)
            return form.FLAT_PLAIN, 0, data, b""
        return form.FLAT_PLAIN, node.size, self._address(data) if node.size else 0, b""

    def _directory(self, folder: Folder) -> bytes:
        """Blocks, each of entries and then their names, in the order of their bytes; the last one ends with them."""
        named = sorted([(b".", folder), (b"..", folder.above), *folder.names.items()], key=itemgetter(0))
        blocks = bytearray()
        group: list[tuple[bytes, Node | int]] = []
        room = form.BLOCK
        for name, node in named:
            size = form.DIRENT.size + len(name)
            if size > room:
                blocks += self._directory_block(group)
                blocks += bytes(-len(blocks) % form.BLOCK)
                group, room = [], form.BLOCK
            group.append((name, node))
            room -= size
        return bytes(blocks + self._directory_block(group))

    def _directory_block(self, group: list[tuple[bytes, Node | int]]) -> bytes:
        offset = form.DIRENT.size * len(group)
        entries = bytearray()
        for name, node in group:
            if isinstance(node, int):
                nid, mode = self._nids[node], self._scanned.mode(node)
            else:
                nid, mode = node.nid, node.mode
            entries += form.DIRENT.pack(nid, offset, form.FILE_TYPES[stat.S_IFMT(mode)])
            offset += len(name)
        return bytes(entries) + b"".join([name for name, _ in group])

    def _address(self, place: int | Stored) -> int:
        if isinstance(place, int):
            return form.ARCHIVE + place // form.BLOCK
        return self._take(place, place.size)

    def _take(self, late: bytes | Stored, size: int) -> int:
        """The next free blocks for it."""
        first = self._next_block
        self._next_block += -(-size // form.BLOCK)
        if self._next_block >= form.ARCHIVE:
            raise Unfit("a layer of more than a tebibyte")
        self._late.append(late)
        return first

    def _write_late(self, late: bytes | Stored) -> None:
        if isinstance(late, bytes):
            self._file.write(late)
            size = len(late)
        else:
            size = late.size
            for offset in range(0, size, _PART):
                self._file.write(late.read(offset, min(_PART, size - offset)))
        self._file.write(bytes(-size % form.BLOCK))


def _walk(root: Folder) -> Iterator[Node | int]:
    """Every inode once, the root first; its links are counted on the way."""
    root.links = 2
    yield root
    waiting = [root]
    while waiting:
        folder = waiting.pop()
        for node in folder.names.values():
            if isinstance(node, Folder):
                folder.links += 1
                node.links = 2
                waiting.append(node)
            elif not isinstance(node, int):
                node.links += 1
                if node.links > 1:
                    continue
            yield node


def _is_opaque(node: Node) -> bool:
    return isinstance(node, Folder) and node.opaque


def _inline_size(node: Node, head: int) -> int:
    """Bytes of a directory or symlink that stand behind its inode of `head` bytes; 0 where it gets blocks."""
    data = node.data
    if isinstance(node, Folder):
        size = 2 * form.DIRENT.size + 3 + sum(form.DIRENT.size + len(name) for name in node.names)
    elif isinstance(data, bytes):
        size = len(data)
    else:
        return 0
    return size if size <= _INLINE else 0


def _xattrs(node: Node) -> bytes:
    """The extended attributes of an inode as they stand behind it."""
    named = dict(node.xattrs or {})
    if _is_opaque(node):
        named[form.OPAQUE] = b"y"
    entries = b""
    for name, value in sorted(named.items()):
        prefix = next(prefix for prefix in form.XATTR_PREFIXES if name.startswith(prefix))
        suffix = os.fsencode(name.removeprefix(prefix))
        entry = form.XATTR.pack(len(suffix), form.XATTR_PREFIXES[prefix], len(value)) + suffix + value
        entries += entry + bytes(-len(entry) % 4)
    if len(entries) > form.MAX_XATTRS:
        raise Unfit("extended attributes of more than 256 KiB")
    return bytes(form.XATTR_HEADER) + entries
