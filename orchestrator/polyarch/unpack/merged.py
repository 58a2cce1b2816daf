"""What the layers of an image come to, in columns that are read in a few milliseconds."""

from __future__ import annotations

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping
from typing import NamedTuple

from polyarch.unpack.columns import numbers, packed, texts, unpacked
from polyarch_platforms.lazy_dataclass import dataclass

FINGERPRINT = 16
"""Bytes of a fingerprint: two files of one fingerprint have the same content and the same extended attributes."""

NONE = bytes(FINGERPRINT)
"""The fingerprint of what has neither content nor extended attributes."""

_NAME = "image"
_COLUMNS = 12


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
    """The rows of all layers, column by column, by layer and then as a tree is walked. `kinds` are a letter each, as in
    `Listed`. So are `changes`: `A` added, `C` changed, `D` removed, `=` for a directory that only stands there again.
    `layers` and `hidden_by` count from 1; `hidden_by` is the layer that replaced or removed it, 0 for none. A hard link
    has all of the file that it is, its `link` that path.
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
