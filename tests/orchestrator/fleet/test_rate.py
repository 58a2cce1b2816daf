"""A rate for all threads together, on a clock that the test turns."""

from __future__ import annotations

import contextlib
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.errors import UsageError
from polyarch.fleet.rate import BURST, RateLimit, parse_rate


class Clock:
    """Time that passes while somebody sleeps; each sleep may last longer than it was to."""

    def __init__(self) -> None:
        self.now, self.late = 1000.0, 0.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds + self.late


@given(
    rate=st.integers(1, 10**12),
    steps=st.lists(st.tuples(st.integers(1, 10**7), st.floats(0, BURST / 2)), min_size=1, max_size=50),
)
def test_the_rate_is_kept_however_late_a_thread_wakes(rate: int, steps: list[tuple[int, float]]) -> None:
    clock = Clock()
    limit = RateLimit(rate, clock=clock, sleep=clock.sleep)
    gone = 0
    for count, late in steps:
        clock.late = late
        limit.take(count)
        took = clock.now - 1000
        # Before this piece no more had gone than the rate allows, and no less if every sleep is made up for.
        assert gone <= rate * (took + BURST) * 1.000001 + 1
        if gone / rate > BURST:
            assert took <= gone / rate + BURST / 2 + 1e-6
        gone += count


def test_a_pause_gives_no_more_than_a_burst() -> None:
    clock = Clock()
    limit = RateLimit(1000, clock=clock, sleep=clock.sleep)
    clock.now += 3600
    before = clock.now
    for _ in range(100):
        limit.take(100)
    assert clock.now - before == pytest.approx((9_900 - 1000 * BURST) / 1000)


def test_those_who_come_together_wait_in_their_order() -> None:
    waits: list[float] = []
    limit = RateLimit(1000, clock=lambda: 0.0, sleep=waits.append)
    for _ in range(5):
        limit.take(500)
    assert waits == pytest.approx([0.5, 1, 1.5, 2])


def test_nobody_sleeps_with_the_lock() -> None:
    ended: list[bool] = []

    def sleep(seconds: float) -> None:
        if not ended:  # while this one sleeps, another takes
            ended.append(False)
            other = threading.Thread(target=limit.take, args=(1,), daemon=True)
            other.start()
            other.join(30)
            ended[0] = not other.is_alive()

    limit = RateLimit(1, clock=lambda: 0.0, sleep=sleep)
    limit.take(10)
    limit.take(10)
    assert ended == [True]


@pytest.mark.parametrize(("rate", "piece"), [(1, 1024), (100_000, 10_000), (10**10, 1 << 18)])
def test_pieces_are_small_where_the_rate_is(rate: int, piece: int) -> None:
    assert RateLimit(rate).piece == piece


@pytest.mark.parametrize("rate", [0, -1, float("nan")])
def test_a_rate_is_more_than_nothing(rate: float) -> None:
    with pytest.raises(ValueError, match="rate"):
        RateLimit(rate)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("1", 1),
        ("2000", 2000),
        ("500k", 512_000),
        ("500K", 512_000),
        ("10M", 10 << 20),
        ("1.5MiB", 3 << 19),
        ("0.5kib", 512),
        ("3g", 3 << 30),
        ("1T", 1 << 40),
    ],
)
def test_rates_are_read_as_curl_reads_them(text: str, rate: int) -> None:
    assert parse_rate(text) == rate


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "0.0001k",
        "-1",
        "k",
        "1 M",
        "10MB",
        "10Mbit",
        "1iB",
        "1e3",
        ".5M",
        "1.M",
        "٣k",
        "1k\n",
        "9" * 99,
        "\x1b[2J",
    ],
)
def test_what_is_no_rate_is_told(text: str) -> None:
    with pytest.raises(UsageError, match="no rate") as told:
        parse_rate(text)
    assert told.value.message.isprintable()
    assert "1.5MiB" in str(told.value.hint)


@given(st.text(max_size=12))
def test_any_text_is_a_rate_or_told(text: str) -> None:
    with contextlib.suppress(UsageError):
        assert parse_rate(text) >= 1
