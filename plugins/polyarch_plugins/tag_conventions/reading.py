"""Takes tags apart: where in them a word for a platform stands, and what is left without it. Pure.

A word counts only as a whole part of the tag, between its ends and `-`, `_` or `.`; `1.0-armored` has none.
"""

from __future__ import annotations

from functools import cache

from polyarch.contract import Platform, TagReading
from polyarch_plugins.tag_conventions.words import SEPARATOR, Word, table, word, words

LATEST = "latest"
MAX_PARTS = 4
"""Of so many parts a word consists at most: `linux-arm-v7`, `raspberry-pi` …"""


def behind(tag: str) -> TagReading | None:
    """`1.0-arm64v8`, `v5.0_armhf`, `1.0.aarch64`; also a tag that is nothing but the word: `armhf` is the latest."""
    if not _may_hold(tag, -1):
        return None
    starts = [0, *(separator.end() for separator in SEPARATOR.finditer(tag))][-MAX_PARTS:]
    for start in starts:
        found = _word(tag[start:])
        if found is None:
            continue
        meant, system = found
        if start == 0:
            return _reading(LATEST, meant, system) if _stands_alone(found) else None
        rest, separator = tag[: start - 1], tag[start - 1]
        if not rest or (separator == "." and meant.text.isdigit()) or word(rest):
            return None
        return None if _last(rest) in _set("not_behind") else _reading(rest, meant, system)
    return None


def before(tag: str) -> TagReading | None:
    """`arm64-1.0`, `armhf_latest`, `linux-arm-v7-2.0`."""
    if not _may_hold(tag, 0) or _stands_alone(_word(tag)):
        return None
    separators = list(SEPARATOR.finditer(tag))[:MAX_PARTS]
    for separator in reversed(separators):
        found = _word(tag[: separator.start()])
        # A dot goes on with a number: arm64-v8.1 is version v8.1.
        if found is None or separator[0] == ".":
            continue
        meant, system = found
        rest = tag[separator.end() :]
        if not _stands_alone(found) or not rest or SEPARATOR.match(rest):
            continue
        plain = word(rest) is not None or _first(rest) in _set("not_before")
        return None if plain else _reading(rest, meant, system)
    return None


def within(tag: str) -> TagReading | None:
    """`2.4.0-armhf-debian` is 2.4.0-debian: only words that are hardly anything else."""
    parts = tag.split("-")
    for place in range(1, len(parts) - 1):
        meant = word(parts[place])
        if meant is None or not meant.alone or not (meant.certainty == "sure" or meant.text in _set("within")):
            continue
        front, rest = "-".join(parts[:place]), "-".join(parts[place + 1 :])
        if not front or not rest or parts[place - 1] in _set("not_behind") or parts[place + 1] in _set("not_before"):
            return None
        system = parts[place - 1] if parts[place - 1] in table()["reading"]["systems"] else ""
        if front == system:
            return None  # linux-arm64-2.0: the word stands in front
        front = front.removesuffix(f"-{system}") if system else front
        found = _reading(f"{front}-{rest}", meant, system)
        return TagReading(found.version, found.platforms, "likely")
    return None


def _reading(version: str, meant: Word, system: str) -> TagReading:
    if not system and any(part.startswith(tuple(_set("windows"))) for part in SEPARATOR.split(version.lower())):
        system = "windows"
    named = [Platform(system, each.architecture, each.variant) if system else each for each in meant.platforms]
    return TagReading(version, tuple(named), meant.certainty)


def _word(text: str) -> tuple[Word, str] | None:
    """The word that `text` is, and the system before it, "" if none is named."""
    found = word(text)
    if found:
        return found, ""
    separator = SEPARATOR.search(text)
    system = text[: separator.start()].lower() if separator else ""
    if separator and system in table()["reading"]["systems"]:
        found = word(text[separator.end() :])
        return (found, system) if found else None
    return None


def _stands_alone(found: tuple[Word, str] | None) -> bool:
    return found is not None and (found[0].alone or bool(found[1]))


@cache
def _ends(place: int) -> frozenset[str]:
    """The first (0) or last (-1) parts of all words."""
    systems = table()["reading"]["systems"] if place == 0 else ()
    return frozenset([*(text.split("-")[place] for text in words()), *systems])


def _may_hold(tag: str, place: int) -> bool:
    """False for the many tags that hold no word there."""
    return (_first(tag) if place == 0 else _last(tag)) in _ends(place)


def _first(text: str) -> str:
    separator = SEPARATOR.search(text)
    return (text[: separator.start()] if separator else text).lower()


def _last(text: str) -> str:
    return SEPARATOR.split(text)[-1].lower()


@cache
def _set(name: str) -> frozenset[str]:
    return frozenset(table()["reading"][name])
