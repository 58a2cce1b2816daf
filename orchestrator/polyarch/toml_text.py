"""TOML, in time that grows with its length."""

from __future__ import annotations

import re
import tomllib
from typing import Any

MAX_DOTS = 64
"""Dots of one line outside of its texts. They are of keys above all, whose parts `tomllib` copies for each further one:
a key of 64 KiB takes it seconds."""

# A text on one line; those of several lines hold nothing in the files that are read here.
_TEXT = re.compile(r'"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'')


def parse(text: str) -> dict[str, Any]:
    """As `tomllib.loads`. Raises tomllib.TOMLDecodeError, RecursionError, ValueError."""
    if text.count(".") > MAX_DOTS:
        for number, line in enumerate(text.split("\n"), 1):
            if line.count(".") > MAX_DOTS and _TEXT.sub("", line).partition("#")[0].count(".") > MAX_DOTS:
                raise tomllib.TOMLDecodeError(f"More than {MAX_DOTS} dots (at line {number}, column 1)")
    return tomllib.loads(text)
