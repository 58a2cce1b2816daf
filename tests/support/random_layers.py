"""Random layers over each other: what tar programs write, and what none would."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace

from hypothesis import strategies as st

from support.layers import Item, file, folder, hard_link, symlink
from support.sparse_files import sparse_file

FOLDERS = [b"d", b"e", b"f\xff", b"deep"]
FILES = [b"a", b"b", b"c.txt", b"\xe2\x80\xa6", b"x" * 255, b"..data", b" ", b"-", b"line\nbreak", b".w"]
LINKS = [b"l", b"m"]
TARGETS = [b"d", b"e", b"../d", b"/d", b"/d/e", b"a", b"missing", b"l", b"./deep//", b"../../..", b"t" * 700]
OWNERS = [0, 1, 1000, 65534, 4_000_000_000]
MODES = [0o644, 0o755, 0o600, 0, 0o4755, 0o2755, 0o1777, 0o7777]
TIMES = [1, 1_600_000_000, 1_234_567_890]
PAX_TIMES = [b"-7.25", b"1600000000.123456789"]
CAPABILITY = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
NONSENSE = b"nonsense"  # what the kernel refuses to set
ATTRIBUTES = {
    "user.note": [b"a", b"long" * 90],  # an empty one is none by POSIX, and for Go
    "user.other.name": [b"\0\xff"],
    "security.capability": [CAPABILITY, NONSENSE],
    "trusted.overlay.opaque": [b"y"],
    "trusted.mine": [b"x"],
    "user.overlay.opaque": [b"y"],
    "security.selinux": [b"u:r:t"],
}

_few = st.sampled_from


@st.composite
def layers(draw: st.DrawFn, most: int = 4) -> list[list[Item]]:
    """One to `most` layers, bottom first."""
    known: list[bytes] = []
    return [draw(_layer(known)) for _ in range(draw(st.integers(1, most)))]


@st.composite
def _layer(draw: st.DrawFn, known: list[bytes]) -> list[Item]:
    """`known` are the files so far: what hard links and whiteouts are likely to name."""
    found: list[Item] = []
    for _ in range(draw(st.integers(0, 14))):
        kind = draw(_few("ffffffddddsshhhwwwwokpS"))
        item = _MAKERS[kind](draw, known)
        if item.kind in (b"0", b"S") and b".wh." not in _bytes(item.name):
            known.append(item.pax.get("GNU.sparse.name") or _bytes(item.name))
        found.append(item)
    return found


def _bytes(name: str | bytes) -> bytes:
    return name if isinstance(name, bytes) else name.encode()


def _path(draw: st.DrawFn, names: list[bytes]) -> bytes:
    folders = draw(st.lists(_few(FOLDERS + FOLDERS + LINKS), max_size=2))
    usual = draw(st.integers(0, 19))
    return b"/".join([*folders, draw(_few(names if usual else FOLDERS + FILES + LINKS))])


def _decorated(draw: st.DrawFn, item: Item) -> Item:
    pax = dict(item.pax)
    if draw(st.integers(0, 4)) == 0:
        pax["mtime"] = draw(_few(PAX_TIMES))
    if item.kind in b"05S" and draw(st.integers(0, 3)) == 0:
        for name in draw(st.lists(_few(sorted(ATTRIBUTES)), max_size=3, unique=True)):
            pax[f"SCHILY.xattr.{name}"] = draw(_few(ATTRIBUTES[name]))
    uid, gid = draw(_few(OWNERS)), draw(_few(OWNERS))
    for key, number in (("uid", uid), ("gid", gid)):
        if number > 0o7777777:
            pax[key] = str(number).encode()
    return replace(
        item,
        pax=pax,
        uid=min(uid, 0o7777777),
        gid=min(gid, 0o7777777),
        mtime=draw(_few(TIMES)),
        mode=draw(_few(MODES)) if item.kind != b"2" else 0o777,
    )


def _file(draw: st.DrawFn, known: list[bytes]) -> Item:
    size = draw(_few([0, 1, 3, 511, 512, 513, 1700, 5000]))
    return _decorated(draw, file(_path(draw, FILES), draw(st.binary(min_size=1, max_size=4)) * size))


def _folder(draw: st.DrawFn, known: list[bytes]) -> Item:
    name = _path(draw, FOLDERS) if draw(st.integers(0, 15)) else b"./"
    return _decorated(draw, folder(name))


def _symlink(draw: st.DrawFn, known: list[bytes]) -> Item:
    return _decorated(draw, symlink(_path(draw, LINKS), draw(_few(TARGETS))))


def _hard_link(draw: st.DrawFn, known: list[bytes]) -> Item:
    target = draw(_few(known)) if known else _path(draw, FILES)
    return _decorated(draw, hard_link(_path(draw, FILES), target))


def _whiteout(draw: st.DrawFn, known: list[bytes]) -> Item:
    path = draw(_few(known)) if known and draw(st.booleans()) else _path(draw, FOLDERS + FILES + LINKS)
    head, slash, name = path.rpartition(b"/")
    return file(head + slash + b".wh." + name[:251])


def _opaque(draw: st.DrawFn, known: list[bytes]) -> Item:
    if draw(st.integers(0, 7)) == 0:
        return file(b".wh..wh..opq")
    return file(_path(draw, FOLDERS) + b"/.wh..wh..opq")


def _device(draw: st.DrawFn, known: list[bytes]) -> Item:
    item = Item(
        _path(draw, FILES), kind=draw(_few([b"3", b"4"])), device=draw(_few([(5, 1), (259, 1048575), (1, 300)]))
    )
    return _decorated(draw, item)


def _fifo(draw: st.DrawFn, known: list[bytes]) -> Item:
    return _decorated(draw, Item(_path(draw, FILES), kind=b"6"))


def _sparse(draw: st.DrawFn, known: list[bytes]) -> Item:
    form = draw(_few(["old", "0.0", "0.1", "1.0"]))
    unit = draw(_few([512, 4096]))
    pieces: list[tuple[int, bytes]] = []
    at = 0
    for _ in range(draw(st.integers(0, 6))):
        at += unit * draw(st.integers(0, 4))
        data = draw(st.binary(min_size=1, max_size=3)) * unit
        data = data[: unit * draw(st.integers(1, 2))]
        data = data[: len(data) // 512 * 512]
        pieces.append((at, data))
        at += len(data)
    size = at + draw(_few([0, 0, 1, 700, 9000]))
    return _decorated(draw, sparse_file(_path(draw, FILES), size, pieces, form))


_MAKERS: dict[str, Callable[[st.DrawFn, list[bytes]], Item]] = {
    "f": _file,
    "d": _folder,
    "s": _symlink,
    "h": _hard_link,
    "w": _whiteout,
    "o": _opaque,
    "k": _device,
    "p": _fifo,
    "S": _sparse,
}
