"""Where the members of a tar archive lie, so that each can be read in place. Nothing is ever extracted.

Own and strict, as the reader of layers is (`unpack.tar`), which needs no more than a stream; here the contents are
skipped. Formats: POSIX ustar and pax (IEEE Std 1003.1, pax, "ustar Interchange Format"), GNU's long names and base-256
numbers (GNU tar manual, "Basic Tar Format").
"""

from __future__ import annotations

import os
import posixpath
from collections.abc import Mapping
from dataclasses import field

from polyarch.errors import IntegrityError
from polyarch_platforms.lazy_dataclass import dataclass

BLOCK = 512
MAX_MEMBERS = 200_000
"""Entries of an archive that are looked at."""

_MAX_EXTENDED = 1 << 16
_MAX_NAME = 4096
_MAX_HOPS = 16
_ZERO = bytes(BLOCK)


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive: where its bytes begin, and how many there are."""

    offset: int
    size: int


@dataclass(slots=True)
class _Walk:
    files: dict[str, Member] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    at: int = 0


def index_tar(descriptor: int, size: int, where: str) -> Mapping[str, Member]:
    """The files in the tar archive of `size` bytes behind an open descriptor, by their names; links are followed.

    A name is without `.` and empty parts and without a slash in front; of two with one name the later one counts, as
    with tar itself. Names that lead out of the archive, and links to nothing, are left out. Raises OSError, and
    IntegrityError for what is no tar archive, or is cut short.
    """
    walk = _Walk()
    count = 0
    while (header := _header(descriptor, size, where, walk)) is not None:
        count += 1
        if count > MAX_MEMBERS:
            raise IntegrityError(f"{where}: more than {MAX_MEMBERS} entries, which is the limit")
        name, kind, length, link = header
        member = Member(walk.at, length)
        walk.at += -(-length // BLOCK) * BLOCK
        if member.offset + length > size:
            raise IntegrityError(f"{where}: the archive is cut short")
        clean = _clean(name)
        if not clean:
            continue
        walk.files.pop(clean, None)
        walk.links.pop(clean, None)
        if kind in b"0\0" + b"7":
            walk.files[clean] = member
        elif kind == b"1":
            walk.links[clean] = _clean(link)
        elif kind == b"2":
            walk.links[clean] = _clean(link if link.startswith("/") else posixpath.join(posixpath.dirname(clean), link))
    return walk.files | _followed(walk)


def _followed(walk: _Walk) -> dict[str, Member]:
    found = {}
    for name in walk.links:
        target = name
        for _ in range(_MAX_HOPS):
            target = walk.links.get(target, "")
            if target in walk.files:
                found[name] = walk.files[target]
                break
    return found


def _clean(name: str) -> str:
    """The name in its plain form; "" for one that leads out."""
    clean = posixpath.normpath(name.lstrip("/")) if name else ""
    return "" if clean in (".", "..") or clean.startswith("../") else clean


def _header(descriptor: int, size: int, where: str, walk: _Walk) -> tuple[str, bytes, int, str] | None:
    """Name, kind, size and link of the next entry, with what extended headers say of it; None at the end."""
    extended: dict[str, str] = {}
    while True:
        if walk.at == size and not extended and walk.at:
            return None  # some writers leave the zeros at the end out
        block = os.pread(descriptor, BLOCK, walk.at)
        if block == _ZERO and walk.at and not extended:
            return None
        if len(block) < BLOCK or not _sum_is_right(block):
            raise IntegrityError(f"{where}: {'a damaged' if walk.at else 'no'} tar archive")
        walk.at += BLOCK
        kind, length = block[156:157], _number(block[124:136], where)
        if kind not in b"xgLK":
            length = int(extended["size"]) if extended.get("size", "").isdigit() else length
            if kind in b"12345" + b"6":  # these have no content, whatever is stated
                length = 0
            name = extended.get("path") or _own_name(block)
            return name, kind, length, extended.get("linkpath") or _text(block[157:257])
        if length > _MAX_EXTENDED:
            raise IntegrityError(f"{where}: an extended header of {length} bytes, which is more than an archive needs")
        data = os.pread(descriptor, length, walk.at)
        if len(data) < length:
            raise IntegrityError(f"{where}: the archive is cut short")
        walk.at += -(-length // BLOCK) * BLOCK
        if kind == b"x":
            extended |= _records(data, where)
        elif kind != b"g":
            extended["path" if kind == b"L" else "linkpath"] = _text(data)
        if any(len(value) > _MAX_NAME for value in extended.values()):
            raise IntegrityError(f"{where}: a name of more than {_MAX_NAME} characters")


def _own_name(block: bytes) -> str:
    name, prefix = _text(block[:100]), _text(block[345:500])
    return f"{prefix}/{name}" if prefix and block[257:263] == b"ustar\0" else name


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape")


def _sum_is_right(block: bytes) -> bool:
    digits = block[148:156].strip(b" \0")
    return (
        digits.isdigit()
        and digits.translate(None, b"89") == digits
        and (int(digits, 8) == sum(block) - sum(block[148:156]) + 8 * 0x20)
    )


def _number(raw: bytes, where: str) -> int:
    """Octal digits; or, GNU's way, a big-endian number behind a set first bit."""
    if raw[0] & 0x80:
        value = int.from_bytes(bytes((raw[0] & 0x7F,)) + raw[1:], "big")
        if value >= 1 << 62:
            raise IntegrityError(f"{where}: an entry of a size that cannot be")
        return value
    digits = raw.strip(b" \0")
    try:
        return int(digits or b"0", 8)
    except ValueError:
        raise IntegrityError(f"{where}: an entry whose size is no number") from None


def _records(data: bytes, where: str) -> dict[str, str]:
    """The records of a pax header: `LENGTH KEY=VALUE\\n`, where LENGTH counts the whole record."""
    records: dict[str, str] = {}
    at = 0
    while at < len(data):
        space = data.find(b" ", at, at + 8)
        length = data[at:space] if space > 0 else b""
        end = at + int(length) if length.isdigit() else 0
        key, equals, value = data[space + 1 : end - 1].partition(b"=")
        if not (space < end <= len(data) and equals and data[end - 1 : end] == b"\n"):
            raise IntegrityError(f"{where}: a damaged pax header")
        records[_text(key)] = _text(value)
        at = end
    return {key: value for key, value in records.items() if key in ("path", "linkpath", "size")}
