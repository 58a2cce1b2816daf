"""Tags, grouped: one entry a version, with the tags of its platforms. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from itertools import islice

from polyarch.contract.others import Certainty, ReadsTags, TagReading
from polyarch.errors import UsageError
from polyarch_platforms.lazy_dataclass import dataclass

MAX_TAGS = 200_000
"""So many tags are grouped at most: some 100 MB."""

_CERTAINTIES: tuple[Certainty, ...] = ("sure", "likely", "guess")
_TOKEN = re.compile(r"[0-9]+|[a-z]+")
_BEFORE_RELEASE = frozenset({"alpha", "beta", "pre", "preview", "rc", "dev", "snapshot"})
_EARLIER, _END, _WORD, _NUMBER = range(4)


@dataclass(frozen=True, slots=True)
class PlatformTag:
    """A tag that a convention reads as the variant of a version for `platform`, the likeliest of those it may mean."""

    platform: str
    tag: str
    certainty: Certainty


@dataclass(frozen=True, slots=True)
class VersionTags:
    """A version, and the tags that there are of it.

    `plain` tells that the version itself is a tag; what it holds, an index or a single image, only asking could tell.
    `platforms` has one tag each, in alphabetical order; `others` are further tags for platforms that have one already.
    """

    version: str
    plain: bool
    platforms: tuple[PlatformTag, ...]
    others: tuple[str, ...] = ()


def grouped(name: str, tags: Iterable[str], conventions: Sequence[ReadsTags]) -> tuple[VersionTags, ...]:
    """The tags of the repository `name` by version, in the order of `version_key`.

    Of several readings of one tag the surest counts, of equals the first convention's.
    Raises UsageError where there are more than MAX_TAGS.
    """
    plain: dict[str, None] = {}
    read: dict[str, list[tuple[str, TagReading]]] = {}
    for number, tag in enumerate(islice(tags, MAX_TAGS + 1)):
        if number == MAX_TAGS:
            raise UsageError(
                f"{name} has more than {MAX_TAGS} tags, too many to be grouped", "-q prints them as they come"
            )
        readings = [reading for convention in conventions if (reading := convention.read(tag)) and reading.platforms]
        if readings:
            surest = min(readings, key=lambda reading: _CERTAINTIES.index(reading.certainty))
            read.setdefault(surest.version, []).append((tag, surest))
        else:
            plain[tag] = None
    versions = sorted(dict.fromkeys([*plain, *read]), key=version_key)
    return tuple(_version(version, version in plain, read.get(version, ())) for version in versions)


def _version(version: str, plain: bool, read: Sequence[tuple[str, TagReading]]) -> VersionTags:
    """Words that mean one platform take their places first: beside `armv7`, `armhf` is taken for arm/v6."""
    places: dict[str, PlatformTag] = {}
    others = []
    for tag, reading in sorted(read, key=_openness):
        free = [platform for platform in map(str, reading.platforms) if platform not in places]
        if free:
            places[free[0]] = PlatformTag(free[0], tag, reading.certainty)
        else:
            others.append(tag)
    return VersionTags(version, plain, tuple(places[platform] for platform in sorted(places)), tuple(others))


def _openness(pair: tuple[str, TagReading]) -> tuple[int, int]:
    reading = pair[1]
    return _CERTAINTIES.index(reading.certainty), len(reading.platforms)


def version_key(version: str) -> tuple[object, ...]:
    """The order of versions: numbers by their value and before names, as `sort -V` has them; so the newest stand last.

    1.9 < 1.10-rc1 < 1.10 < 1.10-alpine < 1.10.1 < edge < latest; `v1.2` stands where 1.2 does.
    """
    lower = version.lower()
    if re.match(r"v[0-9]", lower):
        lower = lower[1:]
    parts: list[tuple[int, int, str]] = []
    for token in _TOKEN.findall(lower):
        if token.isdigit():
            digits = token.lstrip("0")
            parts.append((_NUMBER, len(digits), digits))  # of any length, without making a number of it
        else:
            parts.append((_EARLIER if token in _BEFORE_RELEASE and parts else _WORD, 0, token))
    return bool(lower and not lower[0].isdigit()), (*parts, (_END, 0, "")), version
