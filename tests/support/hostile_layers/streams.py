"""How layers travel: compression, bombs, what is promised of them."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import io
import lzma
import struct
import zlib
from collections.abc import Iterator, Sequence

from backports import zstd

from support.hostile_layers.case import GZIP, PLAIN, ZSTD, Blob, Case, Cases, honest, plain, sha256
from support.layers import BLOCK, Item, file, folder, hard_link, layer, packed
from support.sparse_files import sparse_file

_cases = Cases()
CASES = _cases.all
_refused, _opened = _cases.refused, _cases.opened

_F = {"f": "b'x'"}
_TAR = layer(file("f", "x"))
_ID = sha256(_TAR)
_NOISE = hashlib.shake_128(b"noise").digest(40_000)
_LONG = layer(file("f", _NOISE))
_L = {"f": hashlib.sha256(_NOISE).hexdigest()}
_WRONG = "sha256:" + "0" * 64


def _zstd(data: bytes) -> bytes:
    return zstd.compress(data)


def _skippable(data: bytes) -> bytes:
    return b"\x50\x2a\x4d\x18" + struct.pack("<I", len(data)) + data


def _frame(window: int, data: bytes) -> bytes:
    """A zstd frame of one raw block that asks for a window of 2^window bytes (RFC 8878, 3.1.1)."""
    return b"\x28\xb5\x2f\xfd\x00" + bytes([(window - 10) << 3]) + (len(data) << 3 | 1).to_bytes(3, "little") + data


# gzip
_refused("gzip-cut", "is a gzip stream that is cut short", "cut short", Blob(packed(_LONG)[:-20_000], sha256(_LONG)))
_refused("gzip-cut-trailer", "is a gzip stream without its last four bytes", "cut short", Blob(packed(_TAR)[:-4], _ID))
_refused(
    "gzip-crc",
    "is a gzip stream with a wrong checksum",
    "sound gzip",
    Blob(packed(_TAR)[:-8] + b"\0" * 4 + packed(_TAR)[-4:], _ID),
)
_refused(
    "gzip-damaged",
    "is a gzip stream with damaged bytes",
    "",
    Blob(packed(_LONG)[:500] + b"\xff" * 500 + packed(_LONG)[1000:], sha256(_LONG)),
)
_refused(
    "gzip-garbage",
    "has bytes of no sense behind its gzip stream",
    "sound gzip",
    Blob(packed(_TAR) + b"garbage" * 99, _ID),
)
_opened("gzip-zeros", "has 4 KiB of zeros behind its gzip stream", _F, Blob(packed(_TAR) + bytes(4096), _ID))
_opened(
    "gzip-members",
    "is made of 4,000 gzip members",
    _L,
    Blob(b"".join(packed(_LONG[at : at + 11]) for at in range(0, len(_LONG), 11)), sha256(_LONG)),
)
_opened("gzip-empty-members", "has 20,000 empty gzip members", _F, Blob(packed(b"") * 20_000 + packed(_TAR), _ID))
_opened(
    "gzip-fields",
    "has a name, a comment and extra bytes in its gzip header",
    _F,
    Blob(b"\x1f\x8b\x08\x1c" + bytes(6) + b"\x04\x00abcd" + b"../../name\0" + b"\x1b[31m\0" + packed(_TAR)[10:], _ID),
)
_refused("gzip-twice", "is compressed by gzip twice", "", Blob(packed(packed(_TAR)), sha256(packed(_TAR))))

# zstd
_opened("zstd", "is compressed by zstd", _F, Blob(_zstd(_TAR), _ID, ZSTD))
_opened(
    "zstd-frames",
    "is made of 2,000 zstd frames",
    _L,
    Blob(b"".join(_zstd(_LONG[at : at + 23]) for at in range(0, len(_LONG), 23)), sha256(_LONG), ZSTD),
)
_opened(
    "zstd-skippable",
    "has skippable frames around its zstd frame",
    _F,
    Blob(_skippable(b"before") + _zstd(_TAR) + _skippable(b"x" * 9999), _ID, ZSTD),
)
_refused(
    "zstd-cut",
    "is a zstd stream that is cut short",
    "cut short|sound zstd",
    Blob(_zstd(_LONG)[:-9000], sha256(_LONG), ZSTD),
)
_refused(
    "zstd-garbage",
    "has bytes of no sense behind its zstd frame",
    "sound zstd",
    Blob(_zstd(_TAR) + b"garbage" * 99, _ID, ZSTD),
)
_refused("zstd-window", "asks for a window of 2 GiB", "sound zstd", Blob(_frame(31, _TAR), _ID, ZSTD))
_refused("zstd-window-largest", "asks for a window of 2^41 bytes", "sound zstd", Blob(_frame(41, _TAR), _ID, ZSTD))
_refused(
    "zstd-dictionary",
    "wants a dictionary",
    "sound zstd",
    Blob(b"\x28\xb5\x2f\xfd\x03" + b"\x58" + b"\x07\0\0\0" + b"\x01\0\0", _ID, ZSTD),
)
_refused("zstd-in-gzip", "is compressed by zstd, then by gzip", "", Blob(packed(_zstd(_TAR)), sha256(_zstd(_TAR))))
_refused("zstd-skippable-only", "is one skippable frame", "", Blob(_skippable(_TAR), _ID, ZSTD), files_show=True)

# Others, none, and what media types say
_refused("bzip2", "is compressed by bzip2", "compressed by bzip2", Blob(bz2.compress(_TAR), _ID))
_refused("xz", "is compressed by xz", "compressed by xz", Blob(lzma.compress(_TAR), _ID))
_opened("type-gzip-plain", "is called gzip, and is not compressed", _F, plain(_TAR, GZIP))
_opened("type-plain-gzip", "is called uncompressed, and is gzip", _F, Blob(packed(_TAR), _ID, PLAIN))
_opened("type-gzip-zstd", "is called gzip, and is zstd", _F, Blob(_zstd(_TAR), _ID, GZIP))
_opened("type-zstd-gzip", "is called zstd, and is gzip", _F, Blob(packed(_TAR), _ID, ZSTD))
_opened("empty-bytes", "has no bytes at all", {}, plain(b""))
_opened("empty-gzip", "is gzip of no bytes", {}, honest(b""))
_opened("empty-archive", "is an archive of nothing", {}, honest(bytes(2 * BLOCK)))

# What is promised
_refused("diff-id", "is another one than its diff ID says", "diff ID", Blob(packed(_TAR), _WRONG), files_show=True)
_refused(
    "diff-id-end",
    "has more behind its end than its diff ID says",
    "diff ID",
    Blob(packed(_TAR + b"more"), _ID),
    files_show=True,
)
_refused(
    "diff-id-packed",
    "has the digest of its blob for a diff ID",
    "diff ID",
    Blob(packed(_TAR), sha256(packed(_TAR))),
    files_show=True,
)
_refused(
    "diff-ids-fewer",
    "has no diff ID of its own",
    "diff IDs",
    [file("f")],
    [file("g")],
    diff_ids=[sha256(layer(file("f")))],
)
_refused("diff-ids-more", "has a diff ID too many", "diff IDs", [file("f")], diff_ids=[sha256(layer(file("f"))), _ID])
_refused(
    "diff-ids-swapped",
    "has the diff ID of the next one",
    "diff ID",
    [file("f")],
    [file("g")],
    diff_ids=[sha256(layer(file("g"))), sha256(layer(file("f")))],
    files_show=True,
)

# Too much
_MIB = "max_layer_size = 1048576\n"
_refused(
    "limit-size",
    "has a byte more than the limit",
    "more than 1048576 bytes uncompressed",
    [file("f", bytes((1 << 20) - 1535))],
    settings=_MIB,
)
_opened("limit-size-kept", "has as many bytes as the limit", None, [file("f", bytes((1 << 20) - 1536))], settings=_MIB)
_refused(
    "limit-size-holes",
    "has a file with holes of more than the limit",
    "files with holes",
    layer(Item("s", kind=b"S", raw={257: b"ustar  \0", 483: b"00010000000\0"})),
    settings=_MIB,
)


def _too_many(name: str, does: str, *layers: Sequence[Item]) -> None:
    _refused(
        name,
        f"{does}, where 1,000 entries are the limit",
        "more than 1000 entries",
        *layers,
        settings="max_image_entries = 1000\n",
    )


_too_many("limit-entries", "has 1,001 entries", [file(f"f{n}") for n in range(1001)])
_too_many("limit-entries-extended", "has 1,001 headers without a file", [Item("g", kind=b"g")] * 1001)
_too_many("limit-directories", "has 334 directories", [folder(f"d{n}") for n in range(334)])
_too_many(
    "limit-implied", "names three files, each in 240 directories", [file(f"{n}/" + "d/" * 239 + "f") for n in range(3)]
)
_too_many("limit-names", "has 40 names of 3,800 bytes", [file(("n" * 250 + "/") * 15 + f"{n:0>35}") for n in range(40)])
_too_many(
    "limit-attributes",
    "has a file with 150,000 bytes of attributes",
    [file("f", pax={f"SCHILY.xattr.user.{each}": bytes(50_000) for each in "abc"})],
)
_too_many(
    "limit-pieces",
    "has a file with 1,001 pieces between holes",
    [sparse_file("s", 1 << 21, [(1024 * n, b"x" * 512) for n in range(1001)], "1.0")],
)


def _stream(head: bytes, member: bytes, of_zeros: int, count: int, tail: bytes) -> Blob:
    """Gzip members of zeros between two others; the diff ID is not of this, unless somebody comes to its end."""
    return Blob(
        gzip.compress(head, 9, mtime=0) + member * count + gzip.compress(tail, 9, mtime=0),
        _diff_id(head, of_zeros * count, tail),
    )


def _diff_id(head: bytes, zeros: int, tail: bytes) -> str:
    hashed, block = hashlib.sha256(head), bytes(1 << 22)
    while zeros:
        hashed.update(block[:zeros])
        zeros -= min(zeros, len(block))
    hashed.update(tail)
    return "sha256:" + hashed.hexdigest()


def _zeros() -> list[Blob]:
    member = gzip.compress(bytes(1 << 22), 9, mtime=0)
    head = layer(file("zeros", raw={124: b"\x80\0\0\0" + (10 << 30).to_bytes(8, "big")}), end=b"")
    return [_stream(head, member, 1 << 22, 2560, bytes(1024))]


def _zeros_zstd() -> list[Blob]:
    head = layer(file("zeros", raw={124: b"\x80\0\0\0" + (10 << 30).to_bytes(8, "big")}), end=b"")
    data = _zstd(head) + _zstd(bytes(1 << 26)) * 160 + _zstd(bytes(1024))
    return [Blob(data, _diff_id(head, 10 << 30, bytes(1024)), ZSTD)]


def _many(kind: bytes, count: int, same: str = "", *, deep: bool = True) -> list[Blob]:
    stream, hashed = io.BytesIO(), hashlib.sha256()
    made = zlib.compressobj(6, wbits=31)
    for part in _entries(kind, count, same, deep=deep):
        hashed.update(part)
        stream.write(made.compress(part))
    stream.write(made.flush())
    return [Blob(stream.getvalue(), "sha256:" + hashed.hexdigest())]


def _entries(kind: bytes, count: int, same: str = "", *, deep: bool = True) -> Iterator[bytes]:
    for number in range(count):
        yield Item(same or f"{number % 1000}/{number}" if deep else str(number), kind=kind, mode=0o755).encoded()
    yield bytes(1024)


def _slices(layers: int, each: int) -> list[Blob]:
    """Layers of empty files, a hundred in a directory, none twice."""
    made = []
    for at in range(0, layers * each, each):
        names = (f"usr/lib/python3/packages/{number // 100}/module_{number}.py" for number in range(at, at + each))
        made.append(Blob(packed(tar := b"".join([Item(name).encoded() for name in names]) + bytes(1024)), sha256(tar)))
    return made


_HEAVY = [
    Case("bomb-zeros", "has a file of 10 GiB of zeros in 10 MB", _zeros, says="grows more than 500-fold", heavy=True),
    Case(
        "bomb-zeros-zstd",
        "has a file of 10 GiB of zeros in 1 MB of zstd",
        _zeros_zstd,
        says="grows more than 500-fold",
        heavy=True,
    ),
    Case(
        "many-entries",
        "has 350,001 whiteouts",
        lambda: _many(b"0", 350_001, ".wh.same"),
        says="more than 350000 entries",
        heavy=True,
    ),
    Case(
        "many-kept",
        "is one of 3 of 110,000 files, which is near the limit",
        lambda: _slices(3, 110_000),
        opens=True,
        heavy=True,
    ),
    Case(
        "many-directories",
        "has 116,000 directories, which is near the limit",
        lambda: _many(b"5", 116_000, deep=False),
        opens=True,
        heavy=True,
    ),
    Case(
        "many-again",
        "has the same directory 200,000 times",
        lambda: _many(b"5", 200_000, "same"),
        opens=True,
        tree={"same": "dir"},
        heavy=True,
    ),
    Case("many-files", "has 100,000 empty files", lambda: _many(b"0", 100_000), opens=True, heavy=True),
    Case(
        "many-links",
        "has 70,000 hard links to a file, more than ext4 has",
        lambda: [[file("f"), *(hard_link(f"h{n}", "f") for n in range(70_000))]],
        says="more than 64999 hard links",
        heavy=True,
    ),
    Case("layers-400", "is one of 400", lambda: [[file(f"f{n}")] for n in range(400)], opens=True, heavy=True),
]
CASES += _HEAVY
