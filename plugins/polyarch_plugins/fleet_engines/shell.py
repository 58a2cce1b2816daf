"""Texts for a POSIX shell. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def quoted(text: str) -> str:
    """One word of a shell, whatever `text` holds; quoted words side by side are one word, too."""
    return "'" + text.replace("'", "'\"'\"'") + "'"


def assignments(values: Mapping[str, str]) -> str:
    """The lines that set shell variables. Raises ValueError for what no shell variable can be called or hold."""
    lines = []
    for name, text in values.items():
        if not _NAME.fullmatch(name):
            raise ValueError(f"a shell variable cannot be called {name!r}")
        if "\0" in text:
            raise ValueError(f"a shell variable cannot hold what {name} is to hold: it has a zero byte")
        lines.append(f"{name}={quoted(text)}\n")
    return "".join(lines)
