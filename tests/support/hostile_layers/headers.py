"""Headers of the archive that are wrong, odd, or of another time."""

from __future__ import annotations

from support.hostile_layers.case import Cases
from support.layers import BLOCK, Item, extended, file, folder, layer, symlink
from support.sparse_files import FORMS, sparse_file

_cases = Cases()
CASES = _cases.all
_refused, _opened = _cases.refused, _cases.opened

_F = {"f": "b'x'"}
_GOOD = layer(file("f", "x"))
_HEAD, _REST = _GOOD[:BLOCK], _GOOD[BLOCK:]


def _record(text: bytes) -> bytes:
    return extended(b"x", text) + _GOOD


# Checksums, ends, kinds
_refused(
    "sum-wrong", "has a header with a wrong checksum", "checksum", _HEAD[:148] + b"000000\0 " + _HEAD[156:] + _REST
)
_refused(
    "sum-later", "has a wrong checksum behind a good file", "checksum", _GOOD[:-1024] + b"\x01" * BLOCK + bytes(1024)
)
_refused(
    "sum-words", "has a word for a checksum", "checksum is no number", _HEAD[:148] + b"checksum" + _HEAD[156:] + _REST
)
_refused("noise", "is no archive", "checksum", bytes(range(256)) * 8)
_refused("cut-header", "ends within a header", "cut short", _GOOD[:300])
_refused("cut-content", "ends within a file", "cut short", layer(file("f", b"x" * 5000))[:3000])
_refused("cut-padding", "ends before a file's last block is full", "cut short", _GOOD[: BLOCK + 100])
_opened("end-none", "has no blocks of zeros at its end", _F, layer(file("f", "x"), end=b""))
_opened("end-one", "has one block of zeros at its end", _F, layer(file("f", "x"), end=bytes(BLOCK)))
_refused("end-middle", "has one block of zeros before its last file", "zeros that is not the end", bytes(BLOCK) + _GOOD)
_opened("end-more", "has another archive behind its end", _F, _GOOD + layer(file("g", "y")))
_opened("end-zeros", "has 8 MiB of zeros behind its end", _F, _GOOD + bytes(8 << 20))
_opened("end-garbage", "has bytes of no sense behind its end", _F, _GOOD + b"no archive" * 500)
_refused("kind-unknown", "has an entry of type `Z`", "unknown type", [Item("f", kind=b"Z")])
_refused("kind-volume", "has a GNU volume header", "unknown type", [Item("f", kind=b"V"), file("g")])
_refused("kind-dump", "has a GNU dump directory", "unknown type", [Item("f", kind=b"D")])
_refused("kind-solaris", "has a Solaris header", "unknown type", [Item("f", kind=b"X")])
_refused(
    "kind-letters", "has entries of the types `A` to `C`", "unknown type", [Item("f", kind=b"A"), Item("g", kind=b"B")]
)

# Sizes
_refused("size-negative", "has a file of -512 bytes", "out of bounds", [file("f", raw={124: b"\xff" * 10 + b"\xfe\0"})])
_refused(
    "size-2-63", "has a file of 2^63 bytes", "out of bounds", [file("f", raw={124: b"\x80\0\0\0\x80\0\0\0\0\0\0\0"})]
)
_refused(
    "size-exabyte",
    "has a file of an EiB, and few bytes",
    "cut short",
    [file("f", "x", pax={"size": b"%d" % (1 << 60)})],
)
_refused("size-octal", "has a file of 8 GiB, and few bytes", "cut short", [file("f", "x", size=(8 << 30) - 1)])
_refused("size-pax-negative", "has a pax size of -1", "size is no number", [file("f", pax={"size": b"-1"})])
_refused("size-pax-word", "has a pax size of 0x10", "size is no number", [file("f", pax={"size": b"0x10"})])
_refused(
    "size-pax-digits", "has a pax size of 1,000 digits", "size is no number", [file("f", pax={"size": b"9" * 1000})]
)
_refused("size-octal-word", "has a size `9abc`", "size is no number", [file("f", raw={124: b"9abc\0\0\0\0\0\0\0\0"})])
_opened(
    "size-base-256", "has a size as a base-256 number", _F, [file("f", "x", raw={124: b"\x80" + bytes(10) + b"\x01"})]
)
_opened("size-spaces", "has a size between spaces", _F, [file("f", "x", raw={124: b"         1 \0"})])
_opened("size-unended", "has a size without an end", _F, [file("f", "x", raw={124: b"000000000001"})])
_opened(
    "size-pax",
    "has another size in the pax header than in the header",
    _F,
    [file("f", "x", size=512, pax={"size": b"1"})],
)
_opened(
    "size-directory",
    "has a size, and no bytes, on a directory and a symlink",
    {"d": "dir", "l": "-> d"},
    [folder("d", size=1000), symlink("l", "d", size=99)],
)
_refused(
    "size-directory-bytes",
    "has bytes behind a directory's header",
    "checksum",
    layer(folder("d", size=512), end=b"\x01" * 512 + bytes(1024)),
)

# Extended headers
_refused(
    "long-name-huge",
    "has a GNU long name of a GiB",
    "extended header of",
    extended(b"L", b"x" * 600, size=1 << 30) + _GOOD,
)
_refused(
    "long-link-huge",
    "has a GNU long link of 8 GiB",
    "extended header of",
    extended(b"K", b"x" * 600, size=(8 << 30) - 1) + _GOOD,
)
_refused(
    "long-name-last",
    "has a GNU long name, and no file",
    "ends behind an extended header",
    extended(b"L", b"f\0") + bytes(1024),
)
_refused(
    "long-name-negative",
    "has a GNU long name of -1 bytes",
    "extended header of",
    layer(Item("L", kind=b"L", raw={124: b"\xff" * 12})) + _GOOD,
)
_opened(
    "long-name-twice",
    "has two GNU long names for a file",
    {"b": "b'x'"},
    extended(b"L", b"a\0") + extended(b"L", b"b\0") + _GOOD,
)
_opened("long-name-plain", "has a GNU long name without its zero", {"b": "b'x'"}, extended(b"L", b"b") + _GOOD)
_opened(
    "mixed",
    "mixes GNU, pax and V7",
    {"a": "b'1'", "b": "b'2'", "c": "b'3'"},
    extended(b"L", b"a\0")
    + layer(file("x", "1", raw={257: b"ustar  \0"}), end=b"")
    + layer(file("y", "2", pax={"path": b"b"}), end=b"")
    + layer(file("c", "3", raw={257: bytes(8)})),
)
_refused(
    "pax-huge",
    "has a pax header of 2 MiB",
    "extended header of",
    _record(b"2097152 comment=" + b"x" * (2097152 - 17) + b"\n"),
)
_refused(
    "pax-exabyte",
    "has a pax header of 8 GiB",
    "extended header of",
    extended(b"x", b"x" * 600, size=(8 << 30) - 1) + _GOOD,
)
_opened(
    "pax-many",
    "has a pax header of 60,000 records",
    _F,
    _record(b"".join(b"16 k%05d=abcde\n" % n for n in range(60_000))),
)
_opened("pax-twice", "has a name twice in a pax header", {"b": "b'x'"}, _record(b"10 path=a\n" + b"10 path=b\n"))
_opened(
    "pax-empty",
    "has an empty pax name, which takes an earlier one back",
    _F,
    _record(b"10 path=a\n" + b"8 path=\n".replace(b"8 ", b"8 ")),
)
_refused("pax-no-equals", "has a pax record without `=`", "broken pax", _record(b"7 path\n"))
_refused("pax-no-end", "has a pax record without a line's end", "broken pax", _record(b"10 path=ab"))
_refused("pax-zero", "has a pax record of no bytes", "broken pax", _record(b"0 path=a\n"))
_refused("pax-short", "has a pax record shorter than it is", "broken pax", _record(b"5 path=a\n"))
_refused("pax-long", "has a pax record longer than all", "broken pax", _record(b"999999 path=a\n"))
_refused("pax-negative", "has a pax record of -5 bytes", "broken pax", _record(b"-5 path=a\n"))
_refused(
    "pax-digits", "has a pax record with 60 digits for its length", "broken pax", _record(b"0" * 60 + b"10 path=a\n")
)
_opened(
    "global-name",
    "has a global pax header with a name `../../outside/secret`",
    _F,
    extended(b"g", b"30 path=../../outside/secret\n\n") + _GOOD,
)
_opened("global-size", "has a global pax header with a size of 999", _F, extended(b"g", b"12 size=999\n") + _GOOD)
_opened(
    "global-git",
    "has a global pax header, as `git archive` writes it",
    _F,
    extended(b"g", b"52 comment=0123456789abcdef0123456789abcdef01234567\n") + _GOOD,
)
_refused(
    "global-huge",
    "has a global pax header of a GiB",
    "extended header of",
    extended(b"g", b"x" * 600, size=1 << 30) + _GOOD,
)

# Other times, other programs
_opened("magic-wrong", "has the magic `abcdef`", _F, [file("f", "x", raw={257: b"abcdef\0\0"})])
_opened(
    "magic-none",
    "is of V7's form",
    {"d": "dir", **_F},
    [Item("d/", kind=b"\0", raw={257: bytes(8)}), Item("f", kind=b"\0", data=b"x", raw={257: bytes(8)})],
)
_opened(
    "magic-prefix",
    "has a prefix in a GNU header, where times are",
    _F,
    [file("f", "x", raw={257: b"ustar  \0", 345: b"14000000000\0"})],
)
_opened("kind-contiguous", "has a contiguous file", _F, [Item("f", kind=b"7", data=b"x")])
_opened(
    "names-of-owners",
    "has owners by name, with an escape sequence",
    _F,
    [file("f", "x", raw={265: b"\x1b[31mroot", 297: b"wheel"})],
)

# Files with holes
for _form in FORMS:
    _opened(
        f"sparse-{_form}",
        f"has a file with holes (GNU, {_form})",
        {"s": "ec3609eb7ae39c9d7dd49a352b29fe7b0c006090ac24ecfea5d80add71586da4"},
        [sparse_file("s", 4096, [(512, b"x" * 512), (2048, b"y" * 512)], _form)],
    )
_MAP = {"GNU.sparse.major": b"0", "GNU.sparse.minor": b"1", "GNU.sparse.name": b"s", "GNU.sparse.size": b"8192"}


def _map(text: bytes, data: bytes = b"x" * 1024, **more: bytes) -> list[Item]:
    extra = {f"GNU.sparse.{key}": value for key, value in more.items()}
    return [file("GNUSparseFile.0/s", data, pax={**_MAP, "GNU.sparse.map": text, **extra})]


_PLACE = "piece in the wrong place"
_refused("sparse-overlap", "has a map of holes with pieces over each other", _PLACE, _map(b"0,512,256,512"))
_refused("sparse-descending", "has a map of holes that goes backwards", _PLACE, _map(b"1024,512,0,512"))
_refused("sparse-beyond", "has a map of holes beyond the file's end", _PLACE, _map(b"0,512,8192,512"))
_refused("sparse-odd", "has a map of holes with half a piece", "half of one", _map(b"0,512,1024"))
_refused("sparse-negative", "has a map of holes with a negative number", "not of numbers", _map(b"0,512,-512,512"))
_refused("sparse-huge-number", "has a map of holes with a number of 2^64", "", _map(b"0,512,18446744073709551616,512"))
_refused("sparse-less", "has more bytes than its map of holes has", "other pieces", _map(b"0,512"))
_refused("sparse-more", "has fewer bytes than its map of holes has", "other pieces", _map(b"0,4096"))
_refused(
    "sparse-pieces",
    "has a map of holes with 70,000 pieces",
    "too many pieces",
    _map(b",".join(b"%d,0" % n for n in range(70_000)), b"", size=b"100000"),
)
_refused(
    "sparse-count",
    "announces 99,999,999 pieces of a file with holes",
    "pieces",
    [
        file(
            "s",
            b"99999999\n".ljust(512, b"\0"),
            pax={"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0", "GNU.sparse.realsize": b"4096"},
        )
    ],
)
_refused(
    "sparse-endless",
    "has a map of holes that does not end",
    "longer than its file",
    [
        file(
            "s",
            b"9\n".ljust(512, b"1"),
            pax={"GNU.sparse.major": b"1", "GNU.sparse.minor": b"0", "GNU.sparse.realsize": b"4096"},
        )
    ],
)
_refused("sparse-version", "has a map of holes of version 7.0", "unknown version", _map(b"0,1024", major=b"7"))
_refused(
    "sparse-directory",
    "has a map of holes on a directory",
    "in what is no file",
    [folder("d", pax={**_MAP, "GNU.sparse.map": b"0,0"})],
)
_refused(
    "sparse-exabyte",
    "has a file of an EiB, all hole",
    "files with holes, which is the limit",
    [sparse_file("s", 1 << 60, [], "1.0")],
)
_refused(
    "sparse-old-exabyte",
    "has a file of an EiB, all hole (old GNU)",
    "files with holes, which is the limit",
    [Item("s", kind=b"S", raw={257: b"ustar  \0", 483: b"\x80\0\0\0" + (1 << 60).to_bytes(8, "big")})],
)
_refused(
    "sparse-many",
    "has 100 files of a GiB, all hole",
    "files with holes, which is the limit",
    [sparse_file(f"s{n}", 1 << 30, [], "0.1") for n in range(100)],
    heavy=True,
)
_refused(
    "sparse-name",
    "has `..` in the name of a file with holes",
    "leads out",
    [file("GNUSparseFile.0/s", b"", pax={**_MAP, "GNU.sparse.name": b"../s", "GNU.sparse.map": b""})],
)
