"""Variables in a text, by the shell's forms that Compose and Dockerfiles share.

Sources: compose-spec, 12-interpolation.md; Dockerfile reference, "Environment replacement".
"""

from __future__ import annotations

import re
from collections.abc import Callable

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_FORM = re.compile(r":?[-+?]|", re.ASCII)
_MAX_DEPTH = 20
_MAX_FILLED = 1 << 16  # characters: a value that holds itself twice, again and again, fills any memory


class Unreadable(Exception):
    """A text whose variables cannot be filled in: what is wrong, in a sentence."""


def expand(text: str, lookup: Callable[[str], str | None], escape: str) -> str:
    """`text` with `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:+other}`, `${NAME+other}`,
    `${NAME:?message}` and `${NAME?message}` filled in; defaults may hold variables themselves.

    `lookup` gives a variable's value, None if it is not set. `escape` is the character before a `$` that stands for
    itself. Raises Unreadable, also where a variable without default is not set.
    """
    return _expanded(text, 0, lookup, escape, 0)[0]


def _expanded(text: str, at: int, lookup: Callable[[str], str | None], escape: str, depth: int) -> tuple[str, int]:
    """What stands from `at` up to the end or, inside a variable, up to its closing brace; and where that is."""
    if depth > _MAX_DEPTH:
        raise Unreadable(f"variables nest deeper than {_MAX_DEPTH} levels")
    out: list[str] = []
    filled = 0
    while at < len(text):
        character = text[at]
        if character == escape and text[at + 1 : at + 2] == "$":
            out.append("$")
            at += 2
        elif character == "}" and depth:
            break
        elif character != "$":
            out.append(character)
            at += 1
        else:
            value, at = _variable(text, at + 1, lookup, escape, depth)
            out.append(value)
            filled += len(value)
            if filled > _MAX_FILLED:
                raise Unreadable(f"what variables stand for has more than {_MAX_FILLED} characters")
    return "".join(out), at


def _variable(text: str, at: int, lookup: Callable[[str], str | None], escape: str, depth: int) -> tuple[str, int]:
    braced = text[at : at + 1] == "{"
    match = _NAME.match(text, at + braced)
    if match is None:
        raise Unreadable(f"no variable's name stands behind the $ in {text[:200]!r}")
    name, at, value = match[0], match.end(), lookup(match[0])
    if not braced:
        return _set(name, value), at
    form = _FORM.match(text, at)
    how = form[0] if form else ""
    word, end = _expanded(text, at + len(how), lookup if _counts(how, value) else _anything, escape, depth + 1)
    if text[end : end + 1] != "}" or (not how and word):
        raise Unreadable(f"{text[:200]!r} is no form of a variable that is known here")
    if not how:
        return _set(name, value), end + 1
    there = bool(value) if how.startswith(":") else value is not None
    if how.endswith("?") and not there:
        raise Unreadable(f"the variable {name} is not set" + (f": {word}" if word else ""))
    if how.endswith("+"):
        return word if there else "", end + 1
    return (value or "") if there else word, end + 1


def _counts(how: str, value: str | None) -> bool:
    """True if the word behind the name is used: then the variables in it have to be set."""
    there = bool(value) if how.startswith(":") else value is not None
    return there if how.endswith("+") else not there


def _anything(name: str) -> str:
    return ""


def _set(name: str, value: str | None) -> str:
    if value is None:
        raise Unreadable(f"the variable {name} is not set, and has no default")
    return value
