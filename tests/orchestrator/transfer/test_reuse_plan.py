"""What travels of a layer: the plan alone, for layers made of letters."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from polyarch.oci.chunked import Span
from polyarch.transfer.reuse_plan import MAX_RANGES, Plan, places_of, plan

_PARTS = st.lists(st.tuples(st.sampled_from("abcdefgh"), st.integers(1, 30), st.booleans()), max_size=30)


def _layer(parts: list[tuple[str, int, bool]]) -> tuple[bytes, list[Span]]:
    data, spans = b"", []
    for letter, size, sure in parts:
        spans.append(Span(len(data), size, f"{letter}{size}{sure}".encode(), sure))
        data += (letter.upper() if sure else letter).encode() * size
    return data, spans


def _built(way: Plan, new: bytes, earlier: list[bytes]) -> bytes:
    return b"".join(
        new[piece.start : piece.start + piece.size]
        if piece.source is None
        else earlier[piece.source][piece.at : piece.at + piece.size]
        for piece in way.pieces
    )


@given(_PARTS, st.lists(_PARTS, max_size=3), st.integers(0, 300), st.integers(0, 300), st.booleans())
def test_a_plan_gives_the_blob(
    parts: list[tuple[str, int, bool]],
    others: list[list[tuple[str, int, bool]]],
    begin: int,
    cut: int,
    guess: bool,
) -> None:
    new, spans = _layer(parts)
    earlier = [_layer(other) for other in others]
    places = places_of([spans for _, spans in earlier])
    size, begin = max(len(new) - cut, 0), min(begin, len(new))
    way = plan(spans, places, size, begin, guess=guess)
    assert _built(way, new, [data for data, _ in earlier]) == new[begin:size]
    assert way.travelling + way.reused == max(size - begin, 0)
    sources = [piece.source for piece in way.pieces]
    assert not any(one is None and other is None for one, other in pairwise(sources))
    if not guess:
        assert way.sure


def test_guesses_are_told() -> None:
    _, spans = _layer([("a", 5, True), ("b", 5, False), ("c", 5, True)])
    places = places_of([spans])
    assert not plan(spans, places, 15, 0).sure
    assert plan(spans, places, 15, 10).sure
    assert plan(spans, places, 15, 0, guess=False).travelling == 5


def _alternating(count: int, here: int) -> tuple[list[Span], int]:
    spans, start = [], 0
    for number in range(count):
        for name, size in (("new", 10), ("old", here)):
            spans.append(Span(start, size, f"{name}{number}".encode(), True))
            start += size
    return spans, start


def test_near_parts_are_asked_for_together_as_far_as_that_is_cheap() -> None:
    spans, size = _alternating(100, 1000)
    places = {span.key: (0, span.start) for span in spans if span.key.startswith(b"old")}
    way = plan(spans, places, size, 0)
    assert way.travelling - 100 * 10 <= size / 100
    assert sum(piece.source is None for piece in way.pieces) == 100
    spans, size = _alternating(1000, 4)
    places = {span.key: (0, span.start) for span in spans if span.key.startswith(b"old")}
    way = plan(spans, places, size, 0)
    assert way.travelling <= 1000 * 10 + size / 100
    assert sum(piece.source is None for piece in way.pieces) < 1000


def test_there_are_never_too_many_parts() -> None:
    spans, size = _alternating(5 * MAX_RANGES, 100_000)
    places = {span.key: (0, span.start) for span in spans if span.key.startswith(b"old")}
    way = plan(spans, places, size, 0)
    assert sum(piece.source is None for piece in way.pieces) == MAX_RANGES
