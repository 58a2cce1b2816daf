"""Layers made by hand: tar archives of any entry, honest or not, and the directory that comes of them."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

BLOCK = 512


@dataclass(frozen=True)
class Item:
    """One entry. `kind` is tar's type flag; `size` overrides the true size of `data`."""

    name: str | bytes
    kind: bytes = b"0"
    data: bytes = b""
    link: str | bytes = b""
    mode: int = 0o644
    uid: int = 0
    gid: int = 0
    mtime: int = 1_700_000_000
    device: tuple[int, int] = (0, 0)
    pax: Mapping[str, bytes] = field(default_factory=dict)
    size: int | None = None
    raw: Mapping[int, bytes] = field(default_factory=dict)  # bytes put into the header, by offset, before the checksum
    more: Sequence[tuple[str, bytes]] = ()  # further pax records, the same key several times perhaps
    after: bytes = b""  # blocks between the header and the data

    def encoded(self) -> bytes:
        records = dict(self.pax)
        name, link = _bytes(self.name), _bytes(self.link)
        if len(name) > 100:
            records["path"] = name
        if len(link) > 100:
            records["linkpath"] = link
        head = _pax([*records.items(), *self.more]) if records or self.more else b""
        size = len(self.data) if self.size is None else self.size
        header = _header(self, name[:100], link[:100], size)
        return head + header + self.after + self.data + bytes(-len(self.data) % BLOCK)


def file(name: str | bytes, data: bytes | str = b"", **fields: object) -> Item:
    return Item(name, data=_bytes(data), **fields)  # type: ignore[arg-type]


def folder(name: str | bytes, mode: int = 0o755, **fields: object) -> Item:
    return Item(name, kind=b"5", mode=mode, **fields)  # type: ignore[arg-type]


def symlink(name: str | bytes, target: str | bytes, **fields: object) -> Item:
    return Item(name, kind=b"2", link=target, mode=0o777, **fields)  # type: ignore[arg-type]


def hard_link(name: str | bytes, target: str | bytes, **fields: object) -> Item:
    return Item(name, kind=b"1", link=target, **fields)  # type: ignore[arg-type]


def layer(*items: Item, end: bytes = bytes(2 * BLOCK)) -> bytes:
    """The tar archive of the entries."""
    return b"".join(item.encoded() for item in items) + end


def opener(data: bytes) -> Callable[[], BinaryIO]:
    return lambda: io.BytesIO(data)


def packed(data: bytes) -> bytes:
    return gzip.compress(data, 1, mtime=0)


def diff_id(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def _header(item: Item, name: bytes, link: bytes, size: int) -> bytes:
    block = bytearray(BLOCK)

    def put(offset: int, value: bytes) -> None:
        block[offset : offset + len(value)] = value

    put(0, name)
    put(100, b"%07o\0" % item.mode)
    put(108, b"%07o\0" % item.uid)
    put(116, b"%07o\0" % item.gid)
    put(124, b"%011o\0" % size)
    put(136, b"%011o\0" % item.mtime)
    put(156, item.kind)
    put(157, link)
    put(257, b"ustar\x0000")
    put(329, b"%07o\0%07o\0" % item.device)
    for offset, value in item.raw.items():
        put(offset, value)
    put(148, b" " * 8)
    put(148, b"%06o\0 " % sum(block))
    return bytes(block)


def _pax(records: Sequence[tuple[str, bytes]]) -> bytes:
    data = b""
    for key, value in records:
        body = b" " + key.encode() + b"=" + value + b"\n"
        length = len(body) + 1
        while len(str(length)) + len(body) != length:
            length = len(str(length)) + len(body)
        data += str(length).encode() + body
    item = Item(b"PaxHeader", kind=b"x")
    return _header(item, b"PaxHeader", b"", len(data)) + data + bytes(-len(data) % BLOCK)


def extended(kind: bytes, data: bytes, size: int | None = None) -> bytes:
    """A GNU long name or link, or a pax header, of any content and any stated size."""
    header = _header(Item(b"././@LongLink", kind=kind), b"././@LongLink", b"", len(data) if size is None else size)
    return header + data + bytes(-len(data) % BLOCK)


def listing(root: Path, names: Sequence[str] = ()) -> dict[str, str]:
    """Everything below a directory: path -> what it is, in one line each; `names` adds facts (mode, owner, mtime)."""
    found: dict[str, str] = {}
    for folder_name, folders, files in os.walk(os.fsencode(root)):
        for name in [*folders, *files]:
            path = os.path.join(folder_name, name)  # noqa: PTH118  # bytes
            status = os.lstat(path)
            shown = os.path.relpath(path, os.fsencode(root)).decode("utf-8", "backslashreplace")
            facts = {
                "mode": f"{stat.S_IMODE(status.st_mode):04o}",
                "owner": f"{status.st_uid}:{status.st_gid}",
                "mtime": str(status.st_mtime_ns),
            }
            found[shown] = " ".join([_content(path, status), *(facts[name] for name in names)])
    return found


def _content(path: bytes, status: os.stat_result) -> str:
    if stat.S_ISDIR(status.st_mode):
        return "dir"
    if stat.S_ISLNK(status.st_mode):
        return "-> " + os.readlink(path).decode("utf-8", "backslashreplace")  # noqa: PTH115
    if stat.S_ISREG(status.st_mode):
        with open(path, "rb") as stream:  # noqa: PTH123
            data = stream.read()
        return repr(data) if len(data) < 40 else hashlib.sha256(data).hexdigest()
    if stat.S_ISFIFO(status.st_mode):
        return "fifo"
    kind = "char" if stat.S_ISCHR(status.st_mode) else "block"
    return f"{kind} {os.major(status.st_rdev)}:{os.minor(status.st_rdev)}"
