"""The values in the JSON of plans and outcomes. All raise IntegrityError for what is none."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TypeVar

from polyarch.errors import IntegrityError, printable

_Word = TypeVar("_Word", bound=str)


def word_of(document: Mapping[str, object], key: str, words: tuple[_Word, ...]) -> _Word:
    """That of `words` which stands under `key`."""
    value = document.get(key)
    for word in words:
        if word == value:
            return word
    raise IntegrityError(f"{key} is '{printable(str(value), 60)}', not one of {', '.join(words)}")


def word_or_none(document: Mapping[str, object], key: str, words: tuple[_Word, ...]) -> _Word | None:
    """The same; None for null."""
    return None if document.get(key) is None else word_of(document, key, words)


def number_of(document: Mapping[str, object], key: str) -> int:
    """The number under `key`, of at most 63 bits and not below zero."""
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 63:
        raise IntegrityError(f"{key} is '{printable(str(value), 60)}', not a number")
    return value


def time_of(document: Mapping[str, object], key: str) -> float:
    """The seconds under `key`."""
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise IntegrityError(f"{key} is '{printable(str(value), 60)}', not a time")
    return float(value)
