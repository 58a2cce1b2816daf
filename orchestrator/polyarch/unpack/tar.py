"""Reading a layer's tar archive, entry by entry, forward only.

Own and strict, because `tarfile` takes a damaged header in the middle for the end of the archive, and reads PAX headers
of any size into memory. Formats: POSIX ustar and pax (IEEE Std 1003.1, pax, "ustar Interchange Format" and "pax Header
Block"), GNU (GNU tar manual, "Basic Tar Format"), the old V7; files with holes in each of GNU's ways (`sparse`).
"""

from __future__ import annotations

import os
import re
import struct
import zlib
from collections.abc import Iterator

from polyarch.errors import IntegrityError, printable
from polyarch.limits import MAX_ATTRIBUTE, MAX_EXTENDED_HEADER, MAX_HARD_LINKS
from polyarch.unpack.attributes import takes_attribute
from polyarch.unpack.entry import Entry, Kind, Outline
from polyarch.unpack.sparse import (
    Segments,
    Unsound,
    collected,
    is_number_of_map,
    is_sparse,
    old_map,
    pax_map,
    segments_of,
)
from polyarch.unpack.stream import LayerStream

__all__ = ["BLOCK", "Entry", "Kind", "Outline", "TarReader", "checksum"]

BLOCK = 512
MAX_NAME = 4096
"""Bytes of a name or a link's target: PATH_MAX of Linux, limits.h, counts the final zero too."""

# name mode uid gid size mtime checksum type linkname magic+version uname gname major minor prefix
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_ZERO = bytes(BLOCK)
_ZEROS = memoryview(bytes(1 << 18))
_HALF = BLOCK // 2
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*(?:\0.*)?", re.DOTALL)
_SECONDS = re.compile(rb"(-?)([0-9]{1,12})(?:\.([0-9]{0,40}))?")
_XATTR = "SCHILY.xattr."
_COUNTED = 7  # bits: as many bytes of names count as an entry
_MAX_ID = (1 << 32) - 2  # (uid_t) -1 means "no change" to chown(2)
_MAX_TIME = 1 << 40


_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,  # a contiguous file
    b"S": Kind.FILE,  # one with holes
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}


class TarReader:
    """Iterates over the entries of `stream`; the content of the entry at hand is read with `parts` or `pieces`.

    Raises IntegrityError for everything that is no sound archive, and for names that lead out of it (`..`). Holes take
    no disk, but whoever reads or copies a file reads them: all files that have some may have as many bytes together,
    holes and all, as the limits allow a layer.
    """

    def __init__(self, stream: LayerStream) -> None:
        self._stream = stream
        self._left = 0
        self._padding = 0
        self._count = 0
        self._segments: Segments | None = None
        self._expanded: Iterator[memoryview] | None = None
        self._with_holes = 0
        self._linked: dict[bytes, int] = {}

    def __iter__(self) -> Iterator[Entry]:
        while (header := self._header()) is not None:
            yield self._entry(*header)

    def outlines(self) -> Iterator[Outline]:
        """The entries in short, for a fraction of the work: owner, mode, time, device and xattrs are not looked at."""
        while (header := self._header()) is not None:
            name, kind, size, link = self._essence(*header)
            yield Outline(self.path(name), kind, size, link)

    def parts(self) -> Iterator[memoryview]:
        """The content of the entry at hand, from where it was left, holes as zeros; a part is valid until the next."""
        if self._expanded is not None:
            for part in self._expanded:  # goes on where it was left, which `yield from` would not
                yield part
        while self._left:
            part = self._stream.part(self._left)
            self._left -= len(part)
            yield part

    def pieces(self) -> Iterator[tuple[int, memoryview]]:
        """The content without the holes: each part with its place in the file. Instead of `parts`."""
        for start, length in self._segments if self._segments is not None else ((0, self._left),):
            end = start + length
            while start < end:
                part = self._stream.part(end - start)
                self._left -= len(part)
                yield start, part
                start += len(part)

    def _with_zeros(self, size: int) -> Iterator[memoryview]:
        at = 0
        for start, part in self.pieces():
            yield from _zeros(start - at)
            yield part
            at = start + len(part)
        yield from _zeros(size - at)

    def _fault(self, what: str) -> IntegrityError:
        return IntegrityError(f"{self._stream.where}: entry {self._count} of its tar archive: {what}")

    def _header(self) -> tuple[bytes, dict[str, bytes]] | None:
        """The next entry's header, and the extended ones in front of it, taken together; None at the end."""
        extended: dict[str, bytes] = {}
        stream = self._stream
        while True:
            block = stream.next_block(self._left + self._padding, BLOCK)
            self._left = self._padding = 0
            self._segments = self._expanded = None
            if extended and block in (b"", _ZERO):
                raise self._fault("the archive ends behind an extended header")
            if block in (b"", _ZERO):
                if block and stream.next_block(0, BLOCK) not in (b"", _ZERO):
                    raise self._fault("a block of zeros that is not the end")
                stream.limits.settle()
                return None
            self._count += 1
            stream.limits.take(1)
            self._check_sum(block)
            kind = block[156:157]
            if kind not in b"xgLK":
                return block, extended
            self._extend(kind, block, extended)

    def _check_sum(self, block: bytes) -> None:
        """The sum of all bytes, the field itself counted as spaces; some old programs summed signed bytes."""
        stated = block[148:156]
        value = self._number(stated, "checksum")
        total = checksum(block) - sum(stated) + 8 * 0x20
        if value != total and value != total - 256 * sum(byte > 127 for byte in block):
            raise self._fault("the checksum of its header is wrong")

    def _number(self, raw: bytes, what: str) -> int:
        """Octal digits; or, GNU's way, a signed big-endian number behind a set first bit."""
        digits = raw.strip(b" \0")
        if digits.isdigit() and b"8" not in digits and b"9" not in digits:  # nearly always
            return int(digits, 8)
        if raw[0] & 0x80:
            value = int.from_bytes(bytes((raw[0] & 0x7F,)) + raw[1:], "big")
            return value - (1 << (8 * len(raw) - 1)) if raw[0] & 0x40 else value
        match = _OCTAL.fullmatch(raw)
        if match is None:
            raise self._fault(f"its {what} is no number")
        return int(match[1] or b"0", 8)

    def _extend(self, kind: bytes, block: bytes, extended: dict[str, bytes]) -> None:
        size = self._number(block[124:136], "size")
        if not 0 <= size <= MAX_EXTENDED_HEADER:
            raise self._fault(f"an extended header of {size} bytes; at most {MAX_EXTENDED_HEADER} are read")
        data = self._stream.read(size)
        self._padding = -size % BLOCK
        if kind == b"x":
            extended.update(self._records(data))
        elif kind == b"L":
            extended["path"] = data.split(b"\0", 1)[0]
        elif kind == b"K":
            extended["linkpath"] = data.split(b"\0", 1)[0]
        # A global header ("g") states what no layer needs (git archive's comment): passed over, as Go's readers do.

    def _records(self, data: bytes) -> dict[str, bytes]:
        """The records of a pax header: `LENGTH KEY=VALUE\\n`, where LENGTH counts the whole record."""
        records: dict[str, bytes] = {}
        of_map: list[tuple[str, bytes]] = []
        at = 0
        while at < len(data):
            space = data.find(b" ", at, at + 8)
            length = data[at:space] if space > 0 else b""
            end = at + int(length) if length.isdigit() else 0
            equals = data.find(b"=", space, end)
            if not space < equals < end <= len(data) or data[end - 1 : end] != b"\n":
                raise self._fault("a broken pax header")
            key = os.fsdecode(data[space + 1 : equals])  # xattrs are called so in Python
            records[key] = data[equals + 1 : end - 1]
            if is_number_of_map(key):
                of_map.append((key, records[key]))
            at = end
        if of_map:
            try:
                records["GNU.sparse.map"] = collected(of_map)
            except Unsound as error:
                raise self._fault(str(error)) from None
        return records

    def _essence(self, block: bytes, extended: dict[str, bytes]) -> tuple[bytes, Kind, int, bytes]:
        """Name, kind, size and link's target of an entry, whose content is what comes next."""
        flag = block[156:157]
        kind = _KINDS.get(flag)
        if kind is None:
            raise self._fault(f"unknown type {flag!r}")
        holes = flag == b"S" or (extended and is_sparse(extended))
        name = self._text(
            (holes and extended.get("GNU.sparse.name")) or extended.get("path") or _ustar_name(block), "name"
        )
        if flag == b"\0" and name.endswith(b"/"):
            kind = Kind.DIRECTORY  # V7 had no type for it
        link = b""
        size = 0
        if kind is Kind.FILE:
            size = self._pax_number(extended, "size", block[124:136], (1 << 63) - 1)
        elif kind is Kind.HARD_LINK or kind is Kind.SYMLINK:
            link = self._text(extended.get("linkpath") or block[157:257].split(b"\0", 1)[0], "link's target")
            if not link:
                raise self._fault("a link without a target")
            if kind is Kind.HARD_LINK:
                self._linked[link] = links = self._linked.get(link, 0) + 1
                if links > MAX_HARD_LINKS:
                    raise self._fault(f"more than {MAX_HARD_LINKS} hard links to a file, which is the limit")
        if further := (len(name) + len(link)) >> _COUNTED:
            self._stream.limits.take(further)
        self._left, self._padding = size, -size % BLOCK
        if holes:
            if kind is not Kind.FILE:
                raise self._fault("a map of holes in what is no file")
            size = self._map_holes(block, extended, size)
        return name, kind, size, link

    def _map_holes(self, block: bytes, extended: dict[str, bytes], stored: int) -> int:
        """Read the map of the file at hand; its size with the holes."""

        def next_block() -> bytes:
            self._left -= BLOCK
            if self._left < 0:
                raise Unsound("a map longer than its file")
            return self._stream.read(BLOCK)

        try:
            if block[156:157] == b"S":
                size, numbers = old_map(block, lambda: self._stream.read(BLOCK), self._number)
            else:
                size, numbers, taken = pax_map(extended, next_block)
                stored -= taken
            if not 0 <= size <= self._stream.limits.size - self._with_holes:
                raise Unsound(f"more than {self._stream.limits.size} bytes in files with holes, which is the limit")
            self._with_holes += size
            self._segments = segments_of(numbers, size, stored)
            self._stream.limits.take(len(self._segments))
        except Unsound as error:
            raise self._fault(str(error)) from None
        self._expanded = self._with_zeros(size)
        return size

    def _entry(self, block: bytes, extended: dict[str, bytes]) -> Entry:
        name, kind, size, link = self._essence(block, extended)
        fields = _HEADER.unpack(block)
        return Entry(
            name=name,
            parts=self.components(name),
            kind=kind,
            mode=self._number(fields[1], "mode") & 0o7777,
            uid=self._pax_number(extended, "uid", fields[2], _MAX_ID),
            gid=self._pax_number(extended, "gid", fields[3], _MAX_ID),
            size=size,
            mtime=self._time(extended.get("mtime"), fields[5]),
            link=link,
            device=self._device(fields) if kind in (Kind.CHARACTER, Kind.BLOCK) else (0, 0),
            xattrs=self._attributes(extended) if extended else {},
            offset=self._stream.position,
            segments=self._segments,
        )

    def _attributes(self, extended: dict[str, bytes]) -> dict[str, bytes]:
        """The extended attributes that a layer may bring (`takes_attribute`)."""
        names = {key: key.removeprefix(_XATTR) for key in extended if key.startswith(_XATTR)}
        found = {name: extended[key] for key, name in names.items() if takes_attribute(name)}
        for name, value in found.items():
            if len(value) > MAX_ATTRIBUTE:
                raise self._fault(f"an extended attribute of more than {MAX_ATTRIBUTE} bytes")
            self._stream.limits.take(1 + (len(name) + len(value) >> _COUNTED))
        return found

    def _text(self, name: bytes, what: str) -> bytes:
        if len(name) >= MAX_NAME:
            raise self._fault(f"a {what} of {len(name)} bytes; Linux has {MAX_NAME - 1} at most")
        if b"\0" in name:
            raise self._fault(f"a zero byte in its {what}")
        return name

    def components(self, name: bytes) -> tuple[bytes, ...]:
        """A name of the archive as its parts, () for the root; IntegrityError for `..`, wherever it stands."""
        parts = tuple(part for part in name.split(b"/") if part not in (b"", b"."))
        if b".." in parts:
            raise self._fault(
                f"'{printable(name.decode('utf-8', 'backslashreplace'), 200)}' leads out of its directory"
            )
        return parts

    def path(self, name: bytes) -> bytes:
        """A name of the archive as its parts with one slash between them; IntegrityError for `..`."""
        path = name.removeprefix(b"./").rstrip(b"/")
        if path.startswith(b"/") or path.endswith(b".") or b"//" in path or b"./" in path:
            return b"/".join(self.components(name))
        return path

    def _pax_number(self, extended: dict[str, bytes], key: str, raw: bytes, limit: int) -> int:
        text = extended.get(key)
        if text and not (text.isdigit() and len(text) < 20):
            raise self._fault(f"its {key} is no number")
        value = int(text) if text else self._number(raw, key)
        if not 0 <= value <= limit:
            raise self._fault(f"its {key} is {value}, out of bounds")
        return value

    def _time(self, text: bytes | None, raw: bytes) -> int:
        if not text:
            seconds, nanoseconds = self._number(raw, "time"), 0
        elif match := _SECONDS.fullmatch(text):
            seconds, nanoseconds = int(match[2]), int((match[3] or b"").ljust(9, b"0")[:9])
            if match[1]:
                seconds, nanoseconds = -seconds, -nanoseconds
        else:
            raise self._fault("its time is no number")
        if abs(seconds) >= _MAX_TIME:
            raise self._fault(f"its time, {seconds} s, is out of bounds")
        return seconds * 1_000_000_000 + nanoseconds

    def _device(self, fields: tuple[bytes, ...]) -> tuple[int, int]:
        major, minor = self._number(fields[12], "device number"), self._number(fields[13], "device number")
        if not (0 <= major < 1 << 12 and 0 <= minor < 1 << 20):  # Linux, kdev_t.h: 12 and 20 bits
            raise self._fault(f"its device number {major}:{minor} is out of bounds")
        return major, minor


def checksum(block: bytes) -> int:
    """The sum of all bytes of a header. The low half of an Adler-32 is 1 + the sum modulo 65521 (RFC 1950, section
    8.2), and 256 bytes come to 65280 at most: several times as fast as `sum`.
    """
    return (zlib.adler32(block[:_HALF]) & 0xFFFF) + (zlib.adler32(block[_HALF:]) & 0xFFFF) - 2


def _zeros(count: int) -> Iterator[memoryview]:
    while count:
        part = _ZEROS[:count]
        count -= len(part)
        yield part


def _ustar_name(block: bytes) -> bytes:
    """The name of a header alone: POSIX has a prefix; GNU ("ustar  ") and V7 have other things in its place."""
    name = block[:100].split(b"\0", 1)[0]
    if block[345] and block[257:265] == b"ustar\x0000":
        return block[345:500].split(b"\0", 1)[0] + b"/" + name
    return name
