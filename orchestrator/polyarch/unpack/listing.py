"""What is in one layer: every entry of its archive with all that is said of it but the content, which is hashed."""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Callable, Iterator, Mapping
from typing import BinaryIO, NamedTuple, cast

from polyarch.errors import IntegrityError
from polyarch.files import disk_error
from polyarch.oci.digest import Digest, hasher
from polyarch.unpack.attributes import takes_attribute
from polyarch.unpack.columns import check_texts, each_text, numbers, packed, unpacked
from polyarch.unpack.limits import LayerLimits
from polyarch.unpack.merged import FINGERPRINT, NONE
from polyarch.unpack.stream import LayerStream
from polyarch.unpack.tar import Entry, Kind, TarReader
from polyarch_platforms.lazy_dataclass import dataclass

_LETTERS = {
    Kind.FILE: "f",
    Kind.HARD_LINK: "h",
    Kind.SYMLINK: "l",
    Kind.CHARACTER: "c",
    Kind.BLOCK: "b",
    Kind.DIRECTORY: "d",
    Kind.FIFO: "p",
}
_NAME = "layer"
_COLUMNS = 9
_LAST_TIME = (1 << 63) - 1
_ZEROS_HASHED = 64 << 20
"""Bytes of the largest file with holes whose zeros are hashed, so that it counts as the same where it has none."""


class Listed(NamedTuple):
    """An entry. `path` is without a slash in front, without `.` and empty parts; b"" is the root.

    `kind` is `f` file, `h` hard link, `l` symlink, `d` directory, `c` and `b` devices, `p` FIFO. `mode` has the twelve
    permission bits, `mtime` is in nanoseconds, as far as 64 bits go (to the year 2262), `size` in bytes. `link` is the
    target of a symlink as it is written, the path that a hard link names, or a device's `MAJOR:MINOR`. Two files of one
    `fingerprint` have the same content and the same extended attributes (a large one with holes has another than the
    same without); of other entries it tells the attributes
    alone.
    """

    path: bytes
    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    fingerprint: bytes
    link: bytes


@dataclass(frozen=True, slots=True)
class Listing:
    """The entries of a layer in the order of its archive, whiteouts among them, column by column."""

    paths: bytes
    kinds: bytes
    modes: array[int]
    uids: array[int]
    gids: array[int]
    sizes: array[int]
    mtimes: array[int]
    fingerprints: bytes
    links: bytes

    def __iter__(self) -> Iterator[Listed]:
        rows = len(self.kinds)
        step = FINGERPRINT
        return map(
            Listed,
            each_text(self.paths),
            self.kinds.decode("ascii"),
            self.modes,
            self.uids,
            self.gids,
            self.sizes,
            self.mtimes,
            (self.fingerprints[at : at + step] for at in range(0, rows * step, step)),
            each_text(self.links),
        )

    def packed(self) -> bytes:
        """Its file."""
        columns = (self.modes, self.uids, self.gids, self.sizes, self.mtimes)
        return packed(_NAME, (self.paths, self.kinds, *columns, self.fingerprints, self.links))


def read_listing(data: bytes) -> Listing:
    """The listing in such a file. Raises ValueError where that is of another form, or damaged."""
    paths, kinds, modes, uids, gids, sizes, mtimes, fingerprints, links = unpacked(_NAME, _COLUMNS, data)
    rows = len(kinds)
    check_texts(paths, rows)
    check_texts(links, rows)
    if len(fingerprints) != rows * FINGERPRINT:
        raise ValueError("a column of another length")
    return Listing(
        paths,
        kinds,
        numbers("H", modes, rows),
        numbers("I", uids, rows),
        numbers("I", gids, rows),
        numbers("Q", sizes, rows),
        numbers("q", mtimes, rows),
        fingerprints,
        links,
    )


def list_layer(
    open_layer: Callable[[], BinaryIO], digest: Digest, where: str, *, limits: LayerLimits | None = None
) -> Listing:
    """Walk a layer once, as it is kept; `where` begins every error's message.

    Its bytes are held against `digest`, which is the blob's and not the diff ID: of a compressed layer that is a third
    of the work, and proves the same. Contents are hashed by SHA-256, cut to 128 bits: on CPUs with instructions for it
    the fastest in the standard library that an image cannot be made to cheat (CRC-32 is twice as fast, and can).

    Raises IntegrityError: no sound archive, or another blob; StorageError where it cannot be read.
    """
    try:
        source = open_layer()
    except OSError as error:
        raise disk_error(error, f"{where}: cannot be read") from error
    with source:
        hashed = _Hashed(source, digest)
        listing = _walked(LayerStream(cast("BinaryIO", hashed), where, limits=limits), _fingerprint)
        hashed.check(where)
    return listing


def outline_layer(source: BinaryIO, diff_id: Digest, where: str, *, limits: LayerLimits | None = None) -> Listing:
    """The same without fingerprints, and held against the diff ID: for whoever asks whether a layer is sound."""
    return _walked(LayerStream(source, where, diff_id, limits), lambda entry, reader: NONE)


def _walked(stream: LayerStream, fingerprint: Callable[[Entry, TarReader], bytes]) -> Listing:
    paths, links, kinds = bytearray(), bytearray(), bytearray()
    modes, uids, gids = array("H"), array("I"), array("I")
    sizes, mtimes = array("Q"), array("q")
    fingerprints = bytearray()
    try:
        reader = TarReader(stream)
        for entry in reader:
            paths += b"/".join(entry.parts) + b"\0"
            kinds += _LETTERS[entry.kind].encode()
            modes.append(entry.mode)
            uids.append(entry.uid)
            gids.append(entry.gid)
            sizes.append(entry.size)
            mtimes.append(min(max(entry.mtime, -_LAST_TIME), _LAST_TIME))
            fingerprints += fingerprint(entry, reader)
            links += _link(entry, reader) + b"\0"
        stream.finish()
    finally:
        stream.close()
    return Listing(
        bytes(memoryview(paths)[:-1]),
        bytes(kinds),
        modes,
        uids,
        gids,
        sizes,
        mtimes,
        bytes(fingerprints),
        bytes(memoryview(links)[:-1]),
    )


def _fingerprint(entry: Entry, reader: TarReader) -> bytes:
    attributes = _attributes(entry.xattrs) if entry.xattrs else b""
    if entry.kind is Kind.FILE:
        content = hashlib.sha256()
        if entry.segments is not None and entry.size > _ZEROS_HASHED:
            content.update(repr((entry.size, entry.segments)).encode())
            for _, part in reader.pieces():
                content.update(part)
        else:
            for part in reader.parts():
                content.update(part)
        if attributes:
            content = hashlib.sha256(content.digest() + attributes)
        return content.digest()[:FINGERPRINT]
    return hashlib.sha256(attributes).digest()[:FINGERPRINT] if attributes else NONE


def _attributes(xattrs: Mapping[str, bytes]) -> bytes:
    taken = {name: value for name, value in xattrs.items() if takes_attribute(name)}
    return repr(sorted(taken.items())).encode("utf-8", "backslashreplace") if taken else b""


def _link(entry: Entry, reader: TarReader) -> bytes:
    if entry.kind is Kind.HARD_LINK:
        return b"/".join(reader.components(entry.link))
    if entry.kind in (Kind.CHARACTER, Kind.BLOCK):
        return b"%d:%d" % entry.device
    return entry.link


class _Hashed:
    """A stream's `read`, hashed on the way."""

    def __init__(self, source: BinaryIO, digest: Digest) -> None:
        self._source = source
        self._digest = digest
        self._hash = hasher(digest)

    def read(self, size: int) -> bytes:
        data = self._source.read(size)
        self._hash.update(data)
        return data

    def check(self, where: str) -> None:
        """Read to the end; IntegrityError if all was another blob."""
        while self.read(1 << 18):
            pass
        actual = f"{self._digest.partition(':')[0]}:{self._hash.hexdigest()}"
        if actual != self._digest:
            raise IntegrityError(f"{where}: blob {self._digest} was promised, {actual} is here", "pull the image again")
