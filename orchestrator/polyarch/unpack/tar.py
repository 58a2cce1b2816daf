"""Reading a layer's tar archive, entry by entry, forward only.

Own and strict, because `tarfile` takes a damaged header in the middle for the end of the archive, and reads PAX headers
of any size into memory. Formats: POSIX ustar and pax (IEEE Std 1003.1, pax, "ustar Interchange Format" and "pax Header
Block"), GNU (GNU tar manual, "Basic Tar Format"), the old V7. Sparse files are refused: image-spec 1.1.1, layer.md,
says that layers should have none.
"""

from __future__ import annotations

import enum
import re
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from polyarch.errors import IntegrityError, printable
from polyarch.unpack.stream import LayerStream

BLOCK = 512
MAX_EXTENDED = 1 << 20
"""Bytes of one extended header (pax, or a GNU long name) that are read."""

MAX_NAME = 4096
"""Bytes of a name or a link's target: PATH_MAX of Linux, limits.h, counts the final zero too."""

# name mode uid gid size mtime checksum type linkname magic+version uname gname major minor prefix
_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s8s32s32s8s8s155s12x")
_ZERO = bytes(BLOCK)
_OCTAL = re.compile(rb"[ \0]*([0-7]*)[ \0]*(?:\0.*)?", re.DOTALL)
_SECONDS = re.compile(rb"(-?)([0-9]{1,12})(?:\.([0-9]{0,40}))?")
_XATTR = "SCHILY.xattr."
_MAX_ID = (1 << 32) - 2  # (uid_t) -1 means "no change" to chown(2)
_MAX_TIME = 1 << 40


class Kind(enum.Enum):
    """What an entry is."""

    FILE = "file"
    HARD_LINK = "hard link"
    SYMLINK = "symlink"
    CHARACTER = "character device"
    BLOCK = "block device"
    DIRECTORY = "directory"
    FIFO = "FIFO"


_KINDS = {
    b"0": Kind.FILE,
    b"\0": Kind.FILE,
    b"7": Kind.FILE,  # a contiguous file
    b"1": Kind.HARD_LINK,
    b"2": Kind.SYMLINK,
    b"3": Kind.CHARACTER,
    b"4": Kind.BLOCK,
    b"5": Kind.DIRECTORY,
    b"6": Kind.FIFO,
}


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry. Names are bytes as they are in the archive; `parts` is the name cut at its slashes, without `.` and
    empty parts, and () for the root directory itself. `mtime` is in nanoseconds, `mode` has the twelve permission bits.
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

    @property
    def shown(self) -> str:
        """The name, fit for a message."""
        return printable(self.name.decode("utf-8", "backslashreplace"), 200)


class TarReader:
    """Iterates over the entries of `stream`; the content of the entry at hand is read with `parts`.

    Raises IntegrityError for everything that is no sound archive, and for names that lead out of it (`..`).
    """

    def __init__(self, stream: LayerStream) -> None:
        self._stream = stream
        self._left = 0
        self._padding = 0
        self._count = 0

    def __iter__(self) -> Iterator[Entry]:
        while (entry := self._entry()) is not None:
            yield entry

    def parts(self) -> Iterator[memoryview]:
        """The content of the entry at hand, from where it was left; each part is valid until the next."""
        while self._left:
            part = self._stream.part(self._left)
            self._left -= len(part)
            yield part

    def _fault(self, what: str) -> IntegrityError:
        return IntegrityError(f"{self._stream.where}: entry {self._count} of its tar archive: {what}")

    def _entry(self) -> Entry | None:
        extended: dict[str, bytes] = {}
        while True:
            self._stream.skip(self._left + self._padding)
            self._left = self._padding = 0
            if self._stream.at_end():
                if extended:
                    raise self._fault("the archive ends behind an extended header")
                return None
            block = self._stream.read(BLOCK)
            if block == _ZERO:
                if not self._stream.at_end() and self._stream.read(BLOCK) != _ZERO:
                    raise self._fault("a block of zeros that is not the end")
                return None
            self._count += 1
            if self._count > self._stream.limits.entries:
                raise self._fault(f"more than {self._stream.limits.entries} entries, which is the limit")
            fields = _HEADER.unpack(block)
            self._check_sum(block, fields[6])
            kind = fields[7]
            if kind in b"xgLK":
                self._extend(kind, fields, extended)
            else:
                return self._made(fields, extended)

    def _check_sum(self, block: bytes, stated: bytes) -> None:
        """The sum of all bytes, the field itself counted as spaces; some old programs summed signed bytes."""
        value = self._number(stated, "checksum")
        total = sum(block) - sum(stated) + 8 * 0x20
        if value != total and value != total - 256 * sum(byte > 127 for byte in block):
            raise self._fault("the checksum of its header is wrong")

    def _number(self, raw: bytes, what: str) -> int:
        """Octal digits; or, GNU's way, a signed big-endian number behind a set first bit."""
        if raw[0] & 0x80:
            value = int.from_bytes(bytes((raw[0] & 0x7F,)) + raw[1:], "big")
            return value - (1 << (8 * len(raw) - 1)) if raw[0] & 0x40 else value
        match = _OCTAL.fullmatch(raw)
        if match is None:
            raise self._fault(f"its {what} is no number")
        return int(match[1] or b"0", 8)

    def _extend(self, kind: bytes, fields: tuple[bytes, ...], extended: dict[str, bytes]) -> None:
        size = self._number(fields[4], "size")
        if not 0 <= size <= MAX_EXTENDED:
            raise self._fault(f"an extended header of {size} bytes; at most {MAX_EXTENDED} are read")
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
        at = 0
        while at < len(data):
            space = data.find(b" ", at, at + 8)
            length = data[at:space] if space > 0 else b""
            end = at + int(length) if length.isdigit() else 0
            equals = data.find(b"=", space, end)
            if not space < equals < end <= len(data) or data[end - 1 : end] != b"\n":
                raise self._fault("a broken pax header")
            key = data[space + 1 : equals].decode("utf-8", "replace")
            records[key] = data[equals + 1 : end - 1]
            at = end
        return records

    def _made(self, fields: tuple[bytes, ...], extended: dict[str, bytes]) -> Entry:
        if any(key.startswith("GNU.sparse.") for key in extended) or fields[7] == b"S":
            raise self._fault("a sparse file, which image layers should not have (image-spec, layer.md)")
        kind = _KINDS.get(fields[7])
        if kind is None:
            raise self._fault(f"unknown type {fields[7]!r}")
        name = self._path(extended.get("path") or _ustar_name(fields), "name")
        if fields[7] == b"\0" and name.endswith(b"/"):
            kind = Kind.DIRECTORY  # V7 had no type for it
        link = b""
        if kind in (Kind.HARD_LINK, Kind.SYMLINK):
            link = self._path(extended.get("linkpath") or fields[8].split(b"\0", 1)[0], "link's target")
            if not link:
                raise self._fault("a link without a target")
        size = self._pax_number(extended, "size", fields[4], (1 << 63) - 1) if kind is Kind.FILE else 0
        self._left, self._padding = size, -size % BLOCK
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
            xattrs={key.removeprefix(_XATTR): value for key, value in extended.items() if key.startswith(_XATTR)},
        )

    def _path(self, name: bytes, what: str) -> bytes:
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
                f"{printable(name.decode('utf-8', 'backslashreplace'), 200)!r} leads out of its directory"
            )
        return parts

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


def _ustar_name(fields: tuple[bytes, ...]) -> bytes:
    """The name of a header alone: POSIX has a prefix; GNU ("ustar  ") and V7 have other things in its place."""
    name = fields[0].split(b"\0", 1)[0]
    prefix = fields[14].split(b"\0", 1)[0] if fields[9] == b"ustar\x0000" else b""
    return prefix + b"/" + name if prefix else name
