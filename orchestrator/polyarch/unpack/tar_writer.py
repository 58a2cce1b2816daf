"""Writing tar archives, entry by entry: what `unpack.tar` reads.

POSIX ustar, and pax records (IEEE Std 1003.1, pax, "pax Header Block") for what does not fit there: long names, times
with a fraction, large numbers, extended attributes (SCHILY.xattr.*, as every layer writer has them). Nothing of this
machine or this moment gets in, so that the same entries give the same bytes. Names are bytes, whatever they are.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Callable, Mapping
from dataclasses import replace

from polyarch.unpack.attributes import attributes_of
from polyarch.unpack.beneath import Directory
from polyarch.unpack.tar import BLOCK, Entry, Kind, checksum

CHUNK = 1 << 18
"""Bytes of a file's content that are read at a time."""

_FLAGS = {
    Kind.FILE: b"0",
    Kind.HARD_LINK: b"1",
    Kind.SYMLINK: b"2",
    Kind.CHARACTER: b"3",
    Kind.BLOCK: b"4",
    Kind.DIRECTORY: b"5",
    Kind.FIFO: b"6",
}
_KINDS = {
    stat.S_IFREG: Kind.FILE,
    stat.S_IFLNK: Kind.SYMLINK,
    stat.S_IFCHR: Kind.CHARACTER,
    stat.S_IFBLK: Kind.BLOCK,
    stat.S_IFDIR: Kind.DIRECTORY,
    stat.S_IFIFO: Kind.FIFO,
}
_SEVEN_DIGITS = 0o7777777
_ELEVEN_DIGITS = 0o77777777777
_SECOND = 1_000_000_000
_LONGEST = 100  # of a name or a link's target in a ustar header
_BLANK_SUM = b" " * 8
_MAGIC = b"ustar\x0000" + bytes(64)  # no names of users and groups: they are this machine's
_END = bytes(155 + 12)
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def kind_of(status: os.stat_result) -> Kind | None:
    """What an archive calls this; None for what it cannot hold (a socket)."""
    return _KINDS.get(stat.S_IFMT(status.st_mode))


def header(entry: Entry) -> bytes:
    """What stands in front of an entry's content."""
    records: list[bytes] = []
    name, link, uid, gid, size = entry.name, entry.link, entry.uid, entry.gid, entry.size
    if len(name) > _LONGEST:
        records.append(_record(b"path", name))
        name = name[:_LONGEST]
    if len(link) > _LONGEST:
        records.append(_record(b"linkpath", link))
        link = link[:_LONGEST]
    if uid > _SEVEN_DIGITS:
        records.append(_record(b"uid", b"%d" % uid))
        uid = 0
    if gid > _SEVEN_DIGITS:
        records.append(_record(b"gid", b"%d" % gid))
        gid = 0
    if size > _ELEVEN_DIGITS:
        records.append(_record(b"size", b"%d" % size))
        size = 0
    seconds, rest = divmod(entry.mtime, _SECOND)
    if rest or not 0 <= seconds <= _ELEVEN_DIGITS:
        records.append(_record(b"mtime", _time(entry.mtime)))
        seconds = min(max(seconds, 0), _ELEVEN_DIGITS)
    if entry.xattrs:
        records += [_record(b"SCHILY.xattr." + os.fsencode(key), entry.xattrs[key]) for key in sorted(entry.xattrs)]
    block = _block(name, _FLAGS[entry.kind], (entry.mode, uid, gid, size, seconds), link, entry.device)
    return _extended(records) + block if records else block


def _time(nanoseconds: int) -> bytes:
    sign = b"-" if nanoseconds < 0 else b""
    seconds, rest = divmod(abs(nanoseconds), _SECOND)
    return b"%b%d.%09d" % (sign, seconds, rest) if rest else b"%b%d" % (sign, seconds)


def _block(
    name: bytes, flag: bytes, fields: tuple[int, int, int, int, int], link: bytes, device: tuple[int, int]
) -> bytes:
    head = name.ljust(_LONGEST, b"\0") + b"%07o\0%07o\0%07o\0%011o\0%011o\0" % fields
    tail = flag + link.ljust(_LONGEST, b"\0") + _MAGIC + b"%07o\0%07o\0" % device + _END
    return b"%b%06o\0 %b" % (head, checksum(head + _BLANK_SUM + tail), tail)


def _extended(records: list[bytes]) -> bytes:
    data = b"".join(records)
    return b"%b%b%b" % (_extended_block(len(data)), data, bytes(-len(data) % BLOCK))


@functools.lru_cache(maxsize=256)
def _extended_block(size: int) -> bytes:
    return _block(b"PaxHeader", b"x", (0o644, 0, 0, size, 0), b"", (0, 0))


def _record(key: bytes, value: bytes) -> bytes:
    """`LENGTH KEY=VALUE\\n`, where LENGTH counts itself, too."""
    body = b" %b=%b\n" % (key, value)
    length = len(body) + len(str(len(body)))
    length = len(body) + len(str(length))
    return b"%d%b" % (length, body)


class TarWriter:
    """Hands an archive to `write`, piece by piece. `latest` (ns): no entry is younger; None lets times be."""

    def __init__(self, write: Callable[[bytes], object], latest: int | None = None) -> None:
        self._write = write
        self._latest = latest

    def add(self, entry: Entry) -> None:
        """An entry without content."""
        if self._latest is not None and entry.mtime > self._latest:
            entry = replace(entry, mtime=self._latest)
        self._write(header(entry))

    def add_link(self, path: bytes, status: os.stat_result, target: bytes) -> None:
        """A further name of the file that is `target` in the archive."""
        self.add(_entry(path, Kind.HARD_LINK, status, link=target))

    def add_from(self, here: Directory, name: bytes, path: bytes, kind: Kind, status: os.stat_result) -> None:
        """What is called `name` in a directory, of this kind and status, as `path` in the archive, with its content.

        A file that shrinks while it is read is filled up with zeros, of one that grows the first bytes are taken.
        Raises OSError: it cannot be read, or is no longer what it was.
        """
        if kind is Kind.FILE:
            self._add_file(os.open(name, _READ, dir_fd=here.fd), path)
        elif kind is Kind.DIRECTORY:
            folder = here.open(name)
            self.add(_entry(path + b"/", kind, os.fstat(folder.fd), xattrs=attributes_of(folder.fd)))
        elif kind is Kind.SYMLINK:
            self.add(_entry(path, kind, status, link=os.readlink(name, dir_fd=here.fd)))
        else:
            device = (os.major(status.st_rdev), os.minor(status.st_rdev)) if kind is not Kind.FIFO else (0, 0)
            self.add(_entry(path, kind, status, device=device))

    def _add_file(self, fd: int, path: bytes) -> None:
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise FileNotFoundError(errno.ENOENT, "it was replaced while it was read", os.fsdecode(path))
            size = status.st_size
            self.add(_entry(path, Kind.FILE, status, size=size, xattrs=attributes_of(fd)))
            left = size
            while left:
                data = os.read(fd, min(left, CHUNK)) or bytes(min(left, CHUNK))
                self._write(data)
                left -= len(data)
        finally:
            os.close(fd)
        if padding := -size % BLOCK:
            self._write(bytes(padding))

    def finish(self) -> None:
        """The end of the archive."""
        self._write(bytes(2 * BLOCK))


_NO_ATTRIBUTES: Mapping[str, bytes] = {}


def _entry(
    path: bytes,
    kind: Kind,
    status: os.stat_result,
    *,
    link: bytes = b"",
    size: int = 0,
    device: tuple[int, int] = (0, 0),
    xattrs: Mapping[str, bytes] = _NO_ATTRIBUTES,
) -> Entry:
    mode = stat.S_IMODE(status.st_mode)
    # () for the parts, which only readers look at
    return Entry(path, (), kind, mode, status.st_uid, status.st_gid, size, status.st_mtime_ns, link, device, xattrs)
