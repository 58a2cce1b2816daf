"""Which bytes of a layer need not travel, because an earlier layer has them: pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from polyarch.oci.chunked import Span
from polyarch_platforms.lazy_dataclass import dataclass

MAX_RANGES = 1024
"""Parts of a layer that are asked for, at most."""

WASTE = 1 / 128
"""The part of a layer that may travel although it is here, so that there are fewer parts to ask for."""

_CLOSE = 64 << 10
"""Bytes between two parts that are near enough to be asked for together."""


class Piece(NamedTuple):
    """Bytes of the new blob. They stand at `at` in the earlier blob number `source`; they travel where that is None."""

    start: int
    size: int
    source: int | None
    at: int


@dataclass(frozen=True, slots=True)
class Plan:
    """All bytes of a blob from some offset on, in their order, without a gap. `sure`: no piece is a guess."""

    pieces: tuple[Piece, ...]
    sure: bool

    @property
    def travelling(self) -> int:
        """Bytes that travel."""
        return sum(piece.size for piece in self.pieces if piece.source is None)

    @property
    def reused(self) -> int:
        """Bytes that do not."""
        return sum(piece.size for piece in self.pieces if piece.source is not None)


Places = Mapping[bytes, tuple[int, int]]
"""Key of a span -> the number of an earlier blob that has it, and where."""


def places_of(earlier: Sequence[Iterable[Span]]) -> dict[bytes, tuple[int, int]]:
    """Where the spans of earlier blobs are; the first blob that has one counts."""
    places: dict[bytes, tuple[int, int]] = {}
    for source, spans in enumerate(earlier):
        for span in spans:
            places.setdefault(span.key, (source, span.start))
    return places


def plan(spans: Iterable[Span], places: Places, size: int, begin: int, *, guess: bool = True) -> Plan:
    """How the first `size` bytes of a blob come, from `begin` on; `spans` are those of its first bytes, without a gap.

    Without `guess` only what is known by a digest of its content is reused.
    """
    pieces: list[Piece] = []
    sure, end = True, begin
    for span in spans:
        stop = min(span.start + span.size, size)
        if stop <= begin or stop <= span.start:
            continue
        start = max(span.start, begin)
        found = places.get(span.key) if guess or span.sure else None
        if found is None:
            _add(pieces, Piece(start, stop - start, None, 0))
        else:
            sure = sure and span.sure
            _add(pieces, Piece(start, stop - start, found[0], found[1] + start - span.start))
        end = stop
    if end < size:
        _add(pieces, Piece(end, size - end, None, 0))
    return Plan(tuple(_joined(pieces, int(size * WASTE))), sure)


def _add(pieces: list[Piece], piece: Piece) -> None:
    """Append a piece, as a part of the last one where it goes on there."""
    if pieces:
        last = pieces[-1]
        goes_on = last.source is None or last.at + last.size == piece.at
        if last.source == piece.source and goes_on:
            pieces[-1] = last._replace(size=last.size + piece.size)
            return
    pieces.append(piece)


def _joined(pieces: Sequence[Piece], waste: int) -> list[Piece]:
    """The pieces, with the smallest of what is here travelling, too, where that joins two parts that do."""
    runs = [(here, list(run)) for here, run in groupby(pieces, lambda piece: piece.source is not None)]
    between = [number for number, (here, _) in enumerate(runs) if here and 0 < number < len(runs) - 1]
    lengths = {number: sum(piece.size for piece in runs[number][1]) for number in between}
    ranges = sum(not here for here, _ in runs)
    given_up: set[int] = set()
    for number in sorted(between, key=lengths.__getitem__):
        if lengths[number] > min(waste, _CLOSE) and ranges <= MAX_RANGES:
            break
        given_up.add(number)
        waste -= lengths[number]
        ranges -= 1
    joined: list[Piece] = []
    for number, (_, run) in enumerate(runs):
        for piece in run:
            _add(joined, Piece(piece.start, piece.size, None, 0) if number in given_up else piece)
    return joined
