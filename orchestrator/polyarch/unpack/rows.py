"""What layers have at their paths, while they are laid over each other: row by row, in a hundred bytes each."""

from __future__ import annotations

from array import array
from collections.abc import Iterable

from polyarch.unpack.listing import Listed
from polyarch.unpack.merged import FINGERPRINT, Merged

GONE = 0
"""The change of a row that its own layer has replaced or removed again."""


class Rows:
    """Rows are called by their numbers, from 0. `changes` and `hidden_by` are as in `Merged`, but for `GONE`."""

    def __init__(self) -> None:
        self.changes = bytearray()
        self.kinds = bytearray()
        self.layers, self.hidden_by = array("I"), array("I")
        self._modes, self._uids, self._gids = array("H"), array("I"), array("I")
        self._sizes, self._mtimes = array("Q"), array("q")
        self._fingerprints = bytearray()
        self._texts = bytearray()  # paths, each with the target of its link behind
        self._paths, self._links = array("Q"), array("Q")  # where each begins

    def __len__(self) -> int:
        return len(self.changes)

    def add(self, layer: int, path: bytes, what: Listed) -> int:
        """A row for an entry at a path of a layer; its number. It is added (`A`) until somebody says otherwise."""
        self.layers.append(layer)
        self.hidden_by.append(0)
        self.changes += b"A"
        self.kinds += what.kind.encode("ascii")
        self._modes.append(what.mode)
        self._uids.append(what.uid)
        self._gids.append(what.gid)
        self._sizes.append(what.size)
        self._mtimes.append(what.mtime)
        self._fingerprints += what.fingerprint
        self._paths.append(len(self._texts))
        self._texts += path
        self._links.append(len(self._texts))
        self._texts += what.link
        return len(self.changes) - 1

    def path(self, row: int) -> bytes:
        """Its path."""
        return bytes(self._texts[self._paths[row] : self._links[row]])

    def link(self, row: int) -> bytes:
        """What a link leads to."""
        end = self._paths[row + 1] if row + 1 < len(self._paths) else len(self._texts)
        return bytes(self._texts[self._links[row] : end])

    def listed(self, row: int) -> Listed:
        """All of it."""
        return Listed(
            self.path(row),
            chr(self.kinds[row]),
            self._modes[row],
            self._uids[row],
            self._gids[row],
            self._sizes[row],
            self._mtimes[row],
            self._fingerprint(row),
            self.link(row),
        )

    def _fingerprint(self, row: int) -> bytes:
        return bytes(self._fingerprints[row * FINGERPRINT : (row + 1) * FINGERPRINT])

    def content_size(self, row: int) -> int:
        """Bytes of its content, counted where they lie: a hard link has none of its own."""
        return 0 if self.kinds[row] == ord("h") else self._sizes[row]

    def are_one_directory(self, one: int, other: int) -> bool:
        """Whether both are the same directory; its time changes with what is made in it and does not count."""
        columns = (self.kinds, self._modes, self._uids, self._gids)
        return (
            self.kinds[one] == ord("d")
            and all(column[one] == column[other] for column in columns)
            and self._fingerprint(one) == self._fingerprint(other)
        )

    def merged(self) -> Merged:
        """The columns of those that their layers left, by layer and then as a tree is walked."""
        order = array("Q")
        first = 0
        while first < len(self):
            end = first
            while end < len(self) and self.layers[end] == self.layers[first]:
                end += 1
            left = (row for row in range(first, end) if self.changes[row] != GONE)
            order.extend(sorted(left, key=lambda row: self.path(row).replace(b"/", b"\0")))
            first = end
        paths, links, fingerprints = bytearray(), bytearray(), bytearray()
        for row in order:
            paths += self.path(row) + b"\0"
            links += self.link(row) + b"\0"
            fingerprints += self._fingerprint(row)
        return Merged(
            _picked("I", self.layers, order),
            bytes(self.changes[row] for row in order).decode("ascii"),
            bytes(self.kinds[row] for row in order).decode("ascii"),
            _picked("I", self.hidden_by, order),
            _picked("H", self._modes, order),
            _picked("I", self._uids, order),
            _picked("I", self._gids, order),
            _picked("Q", self._sizes, order),
            _picked("q", self._mtimes, order),
            bytes(fingerprints),
            bytes(memoryview(paths)[:-1]),
            bytes(memoryview(links)[:-1]),
        )


def _picked(kind: str, column: array[int], order: Iterable[int]) -> array[int]:
    return array(kind, (column[row] for row in order))
