from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.serve.ranges import RangeNotSatisfiable, parse_range

WHOLE = None


@pytest.mark.parametrize(
    ("header", "size", "wanted"),
    [
        (None, 100, WHOLE),
        ("", 100, WHOLE),
        ("bytes=0-0", 100, (0, 1)),
        ("bytes=0-99", 100, (0, 100)),
        ("bytes=0-100", 100, (0, 100)),
        ("bytes=10-19", 100, (10, 10)),
        ("bytes=99-", 100, (99, 1)),
        ("bytes=0-", 100, (0, 100)),
        ("bytes=50-1000000000000", 100, (50, 50)),
        ("bytes=-1", 100, (99, 1)),
        ("bytes=-100", 100, (0, 100)),
        ("bytes=-1000", 100, (0, 100)),
        ("BYTES=1-2", 100, (1, 2)),
        ("bytes= 1-2 ", 100, (1, 2)),
        # no valid range: the header is ignored
        ("bytes=2-1", 100, WHOLE),
        ("bytes=-", 100, WHOLE),
        ("bytes=", 100, WHOLE),
        ("bytes=a-b", 100, WHOLE),
        ("bytes=1", 100, WHOLE),
        ("bytes=--1", 100, WHOLE),
        ("bytes=1-2-3", 100, WHOLE),
        ("lines=1-2", 100, WHOLE),
        ("bytes=٠-٩", 100, WHOLE),
        # several ranges: not served
        ("bytes=0-1,5-6", 100, WHOLE),
        ("bytes=0-1, 5-6", 100, WHOLE),
    ],
)
def test_what_a_range_asks_for(header: str | None, size: int, wanted: tuple[int, int] | None) -> None:
    assert parse_range(header, size) == wanted


@pytest.mark.parametrize(
    ("header", "size"),
    [
        ("bytes=100-", 100),
        ("bytes=100-200", 100),
        ("bytes=-0", 100),
        ("bytes=0-", 0),
        ("bytes=0-0", 0),
        ("bytes=-5", 0),
    ],
)
def test_ranges_without_a_byte(header: str, size: int) -> None:
    with pytest.raises(RangeNotSatisfiable):
        parse_range(header, size)


@given(st.text(max_size=40) | st.from_regex(r"bytes=[0-9]{0,25}-[0-9]{0,25}", fullmatch=True), st.integers(0, 1 << 40))
def test_no_header_asks_for_bytes_that_are_not_there(header: str, size: int) -> None:
    try:
        wanted = parse_range(header, size)
    except RangeNotSatisfiable:
        return
    if wanted is not None:
        first, length = wanted
        assert 0 <= first < size
        assert 0 < length <= size - first
