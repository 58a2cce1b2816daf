"""Waves: their sizes, and how platforms are spread over them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from polyarch.errors import UsageError
from polyarch.fleet.waves import ALL_AT_ONCE, make_waves, parse_batch


def _devices(**platforms: int) -> list[tuple[str, str]]:
    return [(f"{name}-{number}", name) for name, count in platforms.items() for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("batch", "total", "sizes"),
    [
        ("100%", 7, [7]),
        ("1,10%,100%", 40, [1, 4, 35]),
        ("1,10%,100%", 1, [1]),
        ("3", 10, [3, 3, 3, 1]),
        ("1, 5", 12, [1, 5, 5, 1]),
        ("10%", 25, [2] * 12 + [1]),  # rounded down
        ("1%", 3, [1, 1, 1]),  # but never nothing
        ("30%", 10, [3, 3, 3, 1]),
        ("50%,1", 4, [2, 1, 1]),
        ("100", 4, [4]),
        ("5", 0, []),
    ],
)
def test_the_sizes_of_waves(batch: str, total: int, sizes: list[int]) -> None:
    waves = make_waves(parse_batch(batch), _devices(arm=total))
    assert [len(wave) for wave in waves] == sizes
    assert [name for wave in waves for name in wave] == [name for name, _ in _devices(arm=total)]


def test_a_batch_is_written_as_it_is_read() -> None:
    assert str(parse_batch(" 1, 10% ,100%")) == "1,10%,100%"
    assert parse_batch("100%") == ALL_AT_ONCE


@pytest.mark.parametrize(
    "text", ["", ",", "1,", "0", "0%", "-1", "101%", "1.5", "2.5%", "all", "1;2", "1" * 10, "٣", "%"]
)
def test_nonsense_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_batch(text)
    assert caught.value.hint


def test_the_first_wave_tries_every_platform_if_it_can() -> None:
    devices = _devices(arm=5, v6=1, x86=90, riscv=4)
    assert make_waves(parse_batch("4,100%"), devices)[0] == ("x86-1", "arm-1", "riscv-1", "v6-1")
    assert make_waves(parse_batch("1"), devices)[:4] == (("x86-1",), ("arm-1",), ("riscv-1",), ("v6-1",))


@settings(max_examples=min(settings().max_examples, 3000))
@given(st.dictionaries(st.sampled_from("abcde"), st.integers(1, 60), min_size=1), st.integers(1, 100))
def test_waves_have_platforms_in_the_proportion_of_the_fleet(counts: dict[str, int], percent: int) -> None:
    devices = _devices(**counts)
    platforms = dict(devices)
    waves = make_waves(parse_batch(f"{len(counts)},{percent}%"), devices)
    served = [name for wave in waves for name in wave]
    assert sorted(served) == sorted(platforms)
    assert {platforms[name] for name in waves[0]} == set(counts)
    for wave in waves[1:-1]:
        for platform, count in Counter(map(platforms.__getitem__, wave)).items():
            # each platform's share, give or take one device a platform
            assert count <= counts[platform] * (len(wave) + len(counts)) / len(devices) + 1
    for platform, count in counts.items():  # and each in the order that they were given in
        assert [name for name in served if platforms[name] == platform] == [
            f"{platform}-{number}" for number in range(1, count + 1)
        ]
