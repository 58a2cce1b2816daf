"""Reading JSON that comes from outside: bounded, typed, and with errors that say where the fault is."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import cast

from polyarch.errors import IntegrityError

MAX_DEPTH = 64
"""Deeper nesting than this is refused; honest documents need less than ten."""

# Possessive, with an optional end: no text, cut short or hostile, makes it look at a byte twice.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def parse_json(raw: bytes, where: str) -> dict[str, object]:
    """The JSON object in `raw`; IntegrityError if it is none, nests too deep, or is not UTF-8."""
    if _nesting(raw) > MAX_DEPTH:
        raise IntegrityError(f"{where}: JSON nests deeper than {MAX_DEPTH} levels")
    try:
        document = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{where}: not JSON ({error})") from error
    return dict(mapping_of(document, where))


def _nesting(raw: bytes) -> int:
    """The deepest nesting of brackets outside strings, found without recursion and in linear time."""
    if raw.count(b"[") + raw.count(b"{") <= MAX_DEPTH:
        return 0
    depth = deepest = 0
    for byte in _STRING.sub(b"", raw).translate(None, _NO_BRACKETS):
        if byte in b"[{":
            depth += 1
            deepest = max(deepest, depth)
        else:
            depth -= 1
    return deepest


def mapping_of(value: object, where: str) -> Mapping[str, object]:
    """`value` if it is a JSON object, else IntegrityError."""
    if not isinstance(value, dict):
        raise IntegrityError(f"{where}: a JSON object is wanted, not {type(value).__name__}")
    return cast("Mapping[str, object]", value)


def list_of(value: object, where: str) -> list[object]:
    """`value` if it is a list ([] for null), else IntegrityError."""
    if value is None:
        return []
    if not isinstance(value, list):
        raise IntegrityError(f"{where}: a list is wanted, not {type(value).__name__}")
    return value


def strings(value: object, where: str) -> tuple[str, ...]:
    """`value` as a tuple of strings (() for null), else IntegrityError."""
    items = list_of(value, where)
    if not all(isinstance(item, str) for item in items):
        raise IntegrityError(f"{where}: a list of strings is wanted")
    return tuple(cast("list[str]", items))


def string_map(value: object, where: str) -> dict[str, str]:
    """`value` as a mapping of strings to strings ({} for null), else IntegrityError."""
    if value is None:
        return {}
    document = mapping_of(value, where)
    if not all(isinstance(item, str) for item in document.values()):
        raise IntegrityError(f"{where}: strings are wanted as values")
    return dict(cast("Mapping[str, str]", document))


def text_of(document: Mapping[str, object], key: str, where: str, default: str | None = None) -> str:
    """The string under `key`; `default` where it is missing or null and a default is given, else IntegrityError."""
    value = document.get(key)
    if value is None and default is not None:
        return default
    if not isinstance(value, str):
        raise IntegrityError(f"{where}: {key} is missing or not a string")
    return value


def readable(document: dict[str, object]) -> dict[str, object]:
    """A document of `parse_json` with U+FFFD for each half of a surrogate pair in a string, which could be given to no
    file and no program. So Go reads it, too (encoding/json, Unmarshal).
    """
    return cast("dict[str, object]", _readable(document))


def _readable(value: object) -> object:
    if isinstance(value, str):
        return value if value.isascii() else _HALF_PAIR.sub("\ufffd", value)
    if isinstance(value, list):
        return [_readable(each) for each in value]
    if isinstance(value, dict):
        return {_readable(key): _readable(each) for key, each in value.items()}
    return value
