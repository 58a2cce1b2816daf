"""Reading the metadata of a finished layer: what `writer` wrote, and nothing else."""

from __future__ import annotations

import functools
import mmap
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from polyarch.errors import StorageError
from polyarch.unpack.erofs import format as form
from polyarch.unpack.erofs.content import Chunks, Data, Stored


class Inode(NamedTuple):
    """An inode: `mode` as `stat` has it, `mtime` in nanoseconds; `field` is its `i_u`, `end` where its tail begins."""

    nid: int
    layout: int
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    field: int
    xattrs: dict[str, bytes]
    end: int

    @property
    def is_whiteout(self) -> bool:
        """True for overlayfs' mark that nothing has the name."""
        return stat.S_ISCHR(self.mode) and self.field == 0

    @property
    def is_opaque(self) -> bool:
        """True for a directory through which no lower layer is seen."""
        return form.OPAQUE in self.xattrs


class Lower:
    """The layer in `directory`. Its files stay open as long as this lives.

    Raises StorageError where the directory does not hold a layer of this form, whole.
    """

    def __init__(self, directory: Path) -> None:
        self._where = directory
        try:
            self._archive = os.open(directory / form.ARCHIVE_NAME, os.O_RDONLY | os.O_CLOEXEC)
            try:
                metadata = os.open(directory / form.METADATA_NAME, os.O_RDONLY | os.O_CLOEXEC)
                try:
                    self._data = mmap.mmap(metadata, 0, prot=mmap.PROT_READ)
                finally:
                    os.close(metadata)
                self._check(os.fstat(self._archive).st_size)
            except BaseException:
                os.close(self._archive)
                raise
        except (OSError, ValueError) as error:
            raise self._damaged(str(error)) from error
        self._inode = functools.lru_cache(maxsize=4096)(self._read_inode)

    def close(self) -> None:
        """Close both files."""
        self._data.close()
        os.close(self._archive)

    def _damaged(self, what: str) -> StorageError:
        return StorageError(f"the layer in {self._where} is damaged: {what}", f"remove it: rm -r {self._where}")

    def _check(self, archive_size: int) -> None:
        if len(self._data) < form.FIRST_INODE:
            raise self._damaged("it is cut short")
        fields = form.SUPER.unpack_from(self._data, form.SUPER_OFFSET)
        _, blocks, address = form.DEVICE.unpack_from(self._data, form.DEVICE_OFFSET)
        if fields[0] != form.MAGIC or fields[3] != form.BLOCK_BITS or address != form.ARCHIVE:
            raise self._damaged("no metadata of this form")
        if blocks != -(-archive_size // form.BLOCK):
            raise self._damaged("its archive is of another size")
        self._root_nid = fields[5]

    @property
    def root(self) -> Inode:
        """The root directory."""
        return self._inode(self._root_nid)

    def _bytes(self, start: int, size: int) -> bytes:
        data = self._data[start : start + size]
        if start < 0 or len(data) != size:
            raise self._damaged("it is cut short")
        return data

    def _read_inode(self, nid: int) -> Inode:
        at = nid << form.SLOT_BITS
        head, count, mode, size, field, _, uid, gid, seconds, nanoseconds, _ = form.INODE.unpack(
            self._bytes(at, form.INODE_SIZE)
        )
        layout = head >> 1
        if head & 1 != form.EXTENDED or layout not in (form.FLAT_PLAIN, form.FLAT_INLINE, form.CHUNK_BASED):
            raise self._damaged("an inode of another form")
        end = at + form.INODE_SIZE
        xattrs: dict[str, bytes] = {}
        if count:
            length = form.XATTR_HEADER + 4 * (count - 1)
            xattrs = self._xattrs(self._bytes(end, length)[form.XATTR_HEADER :])
            end += length
        return Inode(nid, layout, mode, uid, gid, seconds * 10**9 + nanoseconds, size, field, xattrs, end)

    def _xattrs(self, data: bytes) -> dict[str, bytes]:
        prefixes = {number: prefix for prefix, number in form.XATTR_PREFIXES.items()}
        found: dict[str, bytes] = {}
        at = 0
        while at < len(data):
            length, index, size = form.XATTR.unpack_from(data, at)  # both are of whole words
            start = at + form.XATTR.size + length
            name = os.fsdecode(data[at + form.XATTR.size : start])
            if start + size > len(data) or index not in prefixes:
                raise self._damaged("extended attributes of another form")
            found[prefixes[index] + name] = data[start : start + size]
            at = start + size + -(start + size) % 4
        return found

    def find(self, folder: Inode, name: bytes) -> Inode | None:
        """What has that name in a directory."""
        low, high = 0, -(-folder.size // form.BLOCK) - 1
        while low < high:  # the last block whose first name is not behind this one
            middle = (low + high + 1) // 2
            first = next(self._entries(self._block(folder, middle)))[0]
            low, high = (middle, high) if first <= name else (low, middle - 1)
        for each, nid in self._entries(self._block(folder, low)):
            if each == name:
                return self._inode(nid)
        return None

    def names(self, folder: Inode) -> Iterator[tuple[bytes, Inode]]:
        """The entries of a directory, without itself and the one above."""
        for number in range(-(-folder.size // form.BLOCK)):
            for name, nid in self._entries(self._block(folder, number)):
                if name not in (b".", b".."):
                    yield name, self._inode(nid)

    def _block(self, folder: Inode, number: int) -> bytes:
        start = folder.end if folder.layout == form.FLAT_INLINE else folder.field * form.BLOCK
        offset = number * form.BLOCK
        return self._bytes(start + offset, min(form.BLOCK, folder.size - offset))

    def _entries(self, block: bytes) -> Iterator[tuple[bytes, int]]:
        first = form.DIRENT.unpack_from(block)[1] if len(block) >= form.DIRENT.size else 0
        if first % form.DIRENT.size or not 0 < first <= len(block):
            raise self._damaged("a directory of another form")
        nids_and_starts = list(form.DIRENT.iter_unpack(block[:first]))
        ends = [start for _, start, _ in nids_and_starts[1:]] + [len(block)]
        for (nid, start, _), end in zip(nids_and_starts, ends, strict=True):
            yield block[start:end].rstrip(b"\0"), nid

    def data(self, inode: Inode) -> Data:
        """What a node has, to be written into another layer: a symlink's target, a device's number, a file's bytes."""
        if stat.S_ISLNK(inode.mode):
            start = inode.end if inode.layout == form.FLAT_INLINE else inode.field * form.BLOCK
            return self._bytes(start, inode.size)
        if not stat.S_ISREG(inode.mode):
            return inode.field
        if inode.layout != form.CHUNK_BASED:
            return self._stored(inode.field, inode.size)
        if inode.field > form.MAX_CHUNK_BITS:
            raise self._damaged("a file in chunks of another form")
        bits = form.BLOCK_BITS + inode.field
        places: list[int | Stored | None] = []
        for number in range(-(-inode.size >> bits)):
            address = int.from_bytes(self._bytes(inode.end + 4 * number, 4), "little")
            size = min(1 << bits, inode.size - (number << bits))
            places.append(None if address == form.NO_BLOCK else self._stored(address, size))
        return Chunks(bits, tuple(places))

    def _stored(self, address: int, size: int) -> Stored:
        if address < form.ARCHIVE:
            return Stored(size, lambda offset, length: self._bytes(address * form.BLOCK + offset, length))
        start = (address - form.ARCHIVE) * form.BLOCK
        return Stored(size, lambda offset, length: self._from_archive(start + offset, length))

    def _from_archive(self, start: int, size: int) -> bytes:
        data = os.pread(self._archive, size, start)
        if len(data) != size:
            raise self._damaged("its archive is cut short")
        return data


class Part(NamedTuple):
    """A file, directory, or whatever, of a finished layer."""

    layer: Lower
    inode: Inode
