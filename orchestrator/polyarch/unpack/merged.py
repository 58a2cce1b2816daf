"""What the layers of an image come to, in columns that are read in a few milliseconds."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from polyarch.unpack.columns import numbers, packed, texts, unpacked
from polyarch_platforms.lazy_dataclass import dataclass

FINGERPRINT = 16
"""Bytes of a fingerprint: two files of one fingerprint have the same content and the same extended attributes."""

NONE = bytes(FINGERPRINT)
"""The fingerprint of what has neither content nor extended attributes."""

_NAME = "image"
_COLUMNS = 12


class Row:
    """What a layer has at a path, while layers are laid over each other; fields as in `Listed`.

    `change` is `A` added, `C` changed, `D` removed, `=` for a directory that only stands there again. `hidden_by` is
    the layer that replaced or removed it, 0 for none. A hard link has all of the file that it is, its `link` that path.
    """

    __slots__ = (
        "change",
        "fingerprint",
        "gid",
        "hidden_by",
        "kind",
        "layer",
        "link",
        "mode",
        "mtime",
        "path",
        "size",
        "uid",
    )

    def __init__(
        self,
        layer: int,
        path: bytes,
        kind: str,
        mode: int,
        uid: int,
        gid: int,
        size: int,
        mtime: int,
        fingerprint: bytes,
        link: bytes,
    ) -> None:
        self.layer = layer
        self.path = path
        self.kind = kind
        self.mode = mode
        self.uid = uid
        self.gid = gid
        self.size = size
        self.mtime = mtime
        self.fingerprint = fingerprint
        self.link = link
        self.change = "A"
        self.hidden_by = 0

    @property
    def content_size(self) -> int:
        """Bytes of its content, counted where they lie: a hard link has none of its own."""
        return 0 if self.kind == "h" else self.size

    def is_same_directory(self, other: Row) -> bool:
        """Whether both are the same directory; its time changes with what is made in it and does not count."""
        return (self.kind, self.mode, self.uid, self.gid, self.fingerprint) == (
            other.kind,
            other.mode,
            other.uid,
            other.gid,
            other.fingerprint,
        ) and self.kind == "d"


class Seen(NamedTuple):
    """What is seen at a path of an image; fields as in `Listed`, but a hard link has all of the file that it is."""

    kind: str
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    fingerprint: bytes
    link: bytes


@dataclass(frozen=True, slots=True)
class Merged:
    """The rows of all layers, column by column, by layer and then as a tree is walked. `changes` and `kinds` are a
    letter each, see `Row`; `layers` and `hidden_by` count from 1.
    """

    layers: array[int]
    changes: str
    kinds: str
    hidden_by: array[int]
    modes: array[int]
    uids: array[int]
    gids: array[int]
    sizes: array[int]
    mtimes: array[int]
    fingerprints: bytes
    paths: bytes
    links: bytes

    def span(self, layer: int) -> slice:
        """Where the rows of a layer stand."""
        return slice(bisect_left(self.layers, layer), bisect_right(self.layers, layer))

    def path_texts(self) -> list[bytes]:
        """The paths."""
        return texts(self.paths, len(self.changes))

    def link_texts(self) -> list[bytes]:
        """The targets of links, b"" for other rows."""
        return texts(self.links, len(self.changes))

    def root(self) -> Mapping[bytes, Seen]:
        """What is left in the end: all paths of the image."""
        return dict(self._seen())

    def _seen(self) -> Iterator[tuple[bytes, Seen]]:
        rows = zip(
            self.kinds,
            self.modes,
            self.uids,
            self.gids,
            self.sizes,
            self.mtimes,
            (self.fingerprints[at : at + FINGERPRINT] for at in range(0, len(self.fingerprints), FINGERPRINT)),
            self.link_texts(),
            strict=True,
        )
        for path, change, hidden_by, row in zip(self.path_texts(), self.changes, self.hidden_by, rows, strict=True):
            if change != "D" and not hidden_by:
                yield path, Seen(*row)

    def packed(self) -> bytes:
        """Its file."""
        return packed(
            _NAME,
            (
                self.layers,
                self.changes.encode("ascii"),
                self.kinds.encode("ascii"),
                self.hidden_by,
                self.modes,
                self.uids,
                self.gids,
                self.sizes,
                self.mtimes,
                self.fingerprints,
                self.paths,
                self.links,
            ),
        )


def merged(rows: Iterable[Row]) -> Merged:
    """The columns of these rows."""
    ordered = sorted(rows, key=lambda row: (row.layer, row.path.replace(b"/", b"\0")))
    return Merged(
        array("I", (row.layer for row in ordered)),
        "".join(row.change for row in ordered),
        "".join(row.kind for row in ordered),
        array("I", (row.hidden_by for row in ordered)),
        array("H", (row.mode for row in ordered)),
        array("I", (row.uid for row in ordered)),
        array("I", (row.gid for row in ordered)),
        array("Q", (row.size for row in ordered)),
        array("q", (row.mtime for row in ordered)),
        b"".join(row.fingerprint for row in ordered),
        b"\0".join(row.path for row in ordered),
        b"\0".join(row.link for row in ordered),
    )


def read_merged(data: bytes) -> Merged:
    """What such a file holds. Raises ValueError where that is of another form, or damaged."""
    layers, changes, kinds, hidden_by, modes, uids, gids, sizes, mtimes, fingerprints, paths, links = unpacked(
        _NAME, _COLUMNS, data
    )
    rows = len(changes)
    if len(kinds) != rows or len(fingerprints) != rows * FINGERPRINT:
        raise ValueError("a column of another length")
    return Merged(
        numbers("I", layers, rows),
        changes.decode("ascii"),
        kinds.decode("ascii"),
        numbers("I", hidden_by, rows),
        numbers("H", modes, rows),
        numbers("I", uids, rows),
        numbers("I", gids, rows),
        numbers("Q", sizes, rows),
        numbers("q", mtimes, rows),
        fingerprints,
        paths,
        links,
    )
