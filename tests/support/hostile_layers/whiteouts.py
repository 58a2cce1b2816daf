"""Whiteouts, and what looks like some."""

from __future__ import annotations

from support.hostile_layers.case import Cases
from support.layers import Item, file, folder, hard_link, symlink

_cases = Cases()
CASES = _cases.all
_refused, _opened = _cases.refused, _cases.opened

_BASE = [folder("d"), file("d/a", "1"), file("d/b", "2"), file("f", "3")]
_NOBODY = "no whiteout can be called so"

_refused("whiteout-nameless", "has a whiteout `.wh.`", _NOBODY, [file(".wh.")])
_refused("whiteout-dot", "has a whiteout `d/.wh..`", _NOBODY, _BASE, [file("d/.wh..")])
_refused("whiteout-dot-dot", "has a whiteout `d/.wh...`", _NOBODY, _BASE, [file("d/.wh...")])
_refused(
    "whiteout-way-out", "has a whiteout `../outside/.wh.secret`", "leads out", _BASE, [file("../outside/.wh.secret")]
)
_refused("whiteout-directory", "has a file `.wh.d/x`", "a whiteout is no directory", _BASE, [file(".wh.d/x")])
_opened(
    "whiteout-opaque-below",
    "has a file `d/.wh..wh..opq/x`, as AUFS' own",
    {"d": "dir", "d/a": "b'1'", "d/b": "b'2'", "f": "b'3'"},
    _BASE,
    [file("d/.wh..wh..opq/x")],
)
_refused("whiteout-long", "has a whiteout for a name of 256 bytes", "", _BASE, [file(".wh." + "n" * 256)])
_opened(
    "whiteout-252",
    "has a whiteout for a name of 252 bytes",
    {"f": "b''"},
    [file("n" * 252), file("f")],
    [file(".wh." + "n" * 252)],
)
_opened("whiteout-root", "has a whiteout at the root", {"f": "b'3'"}, _BASE, [file(".wh.d")])
_opened("whiteout-root-opaque", "has an opaque root", {"n": "b''"}, _BASE, [file(".wh..wh..opq"), file("n")])
_opened(
    "whiteout-root-opaque-after",
    "has an opaque root behind its content",
    {"n": "b''"},
    _BASE,
    [file("n"), file(".wh..wh..opq")],
)
_opened(
    "whiteout-nothing",
    "has whiteouts for what is not there",
    {"f": "b''"},
    [file("f")],
    [file(".wh.g"), file("h/.wh.g"), file("h/.wh..wh..opq")],
)
_opened(
    "whiteout-first",
    "has whiteouts, and nothing below",
    {"f": "b''", "d": "dir"},
    [file(".wh.f"), file("f"), folder("d"), file("d/.wh..wh..opq")],
)
_opened(
    "whiteout-own-before",
    "has a whiteout before its own file",
    {"f": "b'new'"},
    [file("f", "old")],
    [file(".wh.f"), file("f", "new")],
)
_opened(
    "whiteout-own-after",
    "has a whiteout behind its own file",
    {"f": "b'new'"},
    [file("f", "old")],
    [file("f", "new"), file(".wh.f")],
)
_opened(
    "whiteout-own-directory",
    "has a whiteout for a directory that it has itself",
    {"d": "dir", "d/n": "b''", "f": "b'3'"},
    _BASE,
    [folder("d"), file("d/n"), file(".wh.d")],
)
_opened(
    "whiteout-opaque-before",
    "has an opaque mark before a directory's content",
    {"d": "dir", "d/n": "b''", "f": "b'3'"},
    _BASE,
    [folder("d"), file("d/.wh..wh..opq"), file("d/n")],
)
_opened(
    "whiteout-opaque-after",
    "has an opaque mark behind a directory's content",
    {"d": "dir", "d/n": "b''", "f": "b'3'"},
    _BASE,
    [file("d/n"), file("d/.wh..wh..opq")],
)
_opened(
    "whiteout-opaque-kind",
    "has a directory as an opaque mark",
    {"d": "dir", "d/n": "b''", "f": "b'3'"},
    _BASE,
    [file("d/n"), folder("d/.wh..wh..opq")],
)
_opened("whiteout-twice", "has a whiteout twice", {"f": "b'3'"}, _BASE, [file(".wh.d"), file(".wh.d")])
_opened(
    "whiteout-content",
    "has a whiteout with bytes and a setuid bit",
    {"d": "dir", "d/a": "b'1'", "d/b": "b'2'"},
    _BASE,
    [file(".wh.f", "bytes", mode=0o4755)],
)
_opened(
    "whiteout-kinds",
    "has a symlink, a FIFO and a directory as whiteouts",
    {},
    [file("a"), file("b"), file("c")],
    [symlink(".wh.a", "/etc"), Item(".wh.b", kind=b"6"), folder(".wh.c")],
)
_opened(
    "whiteout-device",
    "has a device 0/0 as a whiteout",
    {"g": "b''"},
    [file("f"), file("g")],
    [Item(".wh.f", kind=b"3")],
)
_opened(
    "whiteout-hard-link",
    "has a hard link to nothing as a whiteout",
    {"g": "b''"},
    [file("f"), file("g")],
    [hard_link(".wh.f", "none")],
)
_opened(
    "whiteout-aufs",
    "has AUFS' own files",
    {"f": "b''"},
    [file("f")],
    [file(".wh..wh.aufs"), folder(".wh..wh.plnk"), file(".wh..wh.plnk/1.2", "x"), file(".wh..wh.orph/x")],
)
_opened("whiteout-of-whiteout", "has a whiteout of a whiteout", {"f": "b''"}, [file("f")], [file(".wh..wh.f")])
_opened(
    "whiteout-aufs-device",
    "has a device 0/0 called as AUFS' files",
    {"f": "b''"},
    [Item(".wh..wh.w", kind=b"3"), file("f")],
)
_opened(
    "whiteout-symlink",
    "has a whiteout through a lower layer's symlink",
    {"d": "dir", "d/b": "b'2'", "f": "b'3'", "l": "-> d"},
    [*_BASE, symlink("l", "d")],
    [file("l/.wh.a")],
)
_opened(
    "whiteout-symlink-out",
    "has whiteouts through a symlink out",
    {"l": "-> ../../outside"},
    [symlink("l", "../../outside"), file("l/.wh.secret"), file("l/.wh..wh..opq")],
)
_opened(
    "whiteout-of-symlink",
    "has a whiteout of a symlink out",
    {"f": "b''"},
    [symlink("l", "/outside"), file("f")],
    [file(".wh.l")],
)
_opened(
    "whiteout-below-file",
    "has whiteouts below a lower layer's file",
    {"f": "b''"},
    [file("f")],
    [file("f/.wh.x"), file("f/.wh..wh..opq")],
)
_opened(
    "whiteout-then-below",
    "has a whiteout for a directory, and a file in it",
    {"d": "dir", "d/n": "b''", "f": "b'3'"},
    _BASE,
    [file(".wh.d"), file("d/n")],
)
_opened(
    "whiteout-kept-name",
    "has `.wha` and `wh.f`, which are no whiteouts",
    {"f": "b''", ".wha": "b''", "wh.f": "b''"},
    [file("f")],
    [file(".wha"), file("wh.f")],
)
_refused(
    "device-whiteout",
    "has a device 0/0, which is overlayfs' own whiteout",
    "overlayfs' own whiteout",
    [file("f")],
    [Item("f", kind=b"3")],
)
