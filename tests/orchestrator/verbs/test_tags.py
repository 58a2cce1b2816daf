"""Tags by version: which belong together, and in which order they stand."""

from __future__ import annotations

from itertools import pairwise, repeat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from polyarch.contract import ReadsTags, TagReading, UsageError
from polyarch.verbs.tags import MAX_TAGS, VersionTags, grouped, version_key
from polyarch_platforms.platform import parse
from polyarch_plugins.tag_conventions.prefix.convention import Prefix
from polyarch_plugins.tag_conventions.suffix.convention import Suffix

READERS: tuple[ReadsTags, ...] = (Prefix(), Suffix())


def group(*tags: str) -> tuple[VersionTags, ...]:
    return grouped("example.com/app", tags, READERS)


def test_one_entry_a_version_whatever_the_convention() -> None:
    one, two, latest = group("latest", "amd64-1.0", "1.0-arm64v8", "1.0_armhf", "2.0", "linux-arm64", "2.0-linux-amd64")
    assert (one.version, one.plain) == ("1.0", False)
    assert {each.platform: each.tag for each in one.platforms} == {
        "linux/amd64": "amd64-1.0",
        "linux/arm64": "1.0-arm64v8",
        "linux/arm/v7": "1.0_armhf",
    }
    assert [each.certainty for each in one.platforms] == ["sure", "likely", "sure"]
    assert (two.version, two.plain, [each.tag for each in two.platforms]) == ("2.0", True, ["2.0-linux-amd64"])
    assert (latest.version, latest.plain, [each.tag for each in latest.platforms]) == ("latest", True, ["linux-arm64"])


@pytest.mark.parametrize("order", [("1-armhf", "1-armv7"), ("1-armv7", "1-armhf")])
def test_beside_a_sure_word_the_open_one_means_another_platform(order: tuple[str, str]) -> None:
    """As in Home Assistant's images: armhf is ARMv6 where there is armv7."""
    [version] = group(*order)
    assert {each.platform: each.tag for each in version.platforms} == {
        "linux/arm/v7": "1-armv7",
        "linux/arm/v6": "1-armhf",
    }


def test_a_second_tag_for_a_platform_is_kept() -> None:
    [version] = group("1-arm64", "1-arm64v8", "aarch64-1")
    assert [each.tag for each in version.platforms] == ["1-arm64"]
    assert version.others == ("1-arm64v8", "aarch64-1")


def test_guesses_say_so() -> None:
    [version] = group("stable-rpi")
    [guess] = version.platforms
    assert (guess.platform, guess.tag, guess.certainty) == ("linux/arm/v6", "stable-rpi", "guess")


def test_of_two_readings_the_surer_counts() -> None:
    class Reader:
        def __init__(self, version: str, certainty: str) -> None:
            self.reading = TagReading(version, (parse("arm64"),), certainty)  # type: ignore[arg-type]

        def read(self, tag: str) -> TagReading | None:
            return self.reading

    [version] = grouped("app", ["x"], [Reader("a", "likely"), Reader("b", "sure"), Reader("c", "sure")])
    assert version.version == "b"


def test_nothing_gives_nothing() -> None:
    assert group() == ()


def test_too_many_tags_are_told() -> None:
    with pytest.raises(UsageError, match="more than 200000 tags") as caught:
        grouped("example.com/app", repeat("1.0", MAX_TAGS + 1), ())
    assert "-q" in (caught.value.hint or "")
    assert len(grouped("example.com/app", repeat("1.0", MAX_TAGS), ())) == 1


ORDER = (
    "0.9", "1.9", "1.10-alpha", "1.10-alpha2", "1.10-beta", "1.10-rc1", "1.10-rc2", "1.10-rc10", "1.10", "1.10-alpine",
    "1.10-slim", "v1.10.1", "1.10.2", "1.11", "2", "2.0", "10", "20.04", "20240101", "100000000000000000000000000",
    "alpine", "alpine3.9", "alpine3.10", "buster", "edge", "latest", "stable",
)  # fmt: skip


@pytest.mark.parametrize(("lower", "higher"), list(pairwise(ORDER)))
def test_the_order_of_versions(lower: str, higher: str) -> None:
    assert version_key(lower) < version_key(higher)


@given(st.lists(st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,20}", fullmatch=True), unique=True))
def test_any_tags_can_be_grouped_and_none_is_lost(tags: list[str]) -> None:
    found = group(*tags)
    kept = [tag for each in found for tag in (*(one.tag for one in each.platforms), *each.others)]
    kept += [each.version for each in found if each.plain]
    assert sorted(kept) == sorted(tags)
    assert [each.version for each in found] == sorted((each.version for each in found), key=version_key)
    assert len({each.version for each in found}) == len(found)
