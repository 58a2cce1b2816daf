"""Reading JSON that comes from outside: bounded, typed, and with errors that say where the fault is."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from typing import cast

from polyarch.errors import IntegrityError
from polyarch.limits import JSON_VALUE_SIZE, MAX_JSON_DEPTH, MAX_JSON_VALUES

# Possessive, with an optional end: no text, cut short or hostile, makes it look at a byte twice.
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_HALF_PAIR = re.compile("[\ud800-\udfff]")
_NO_BRACKETS = bytes(byte for byte in range(256) if byte not in b"[]{}")


def parse_json(raw: bytes, where: str, keep: Callable[[dict[str, object]], object] | None = None) -> dict[str, object]:
    """The JSON object in `raw`; of each object in it what `keep` makes of it.

    IntegrityError if it is none, nests too deep, holds too many values, is not UTF-8, or can be read in two ways: with
    a name twice in an object (RFC 8259, section 4: programs differ), or with a number that JSON does not have (NaN).
    """
    _check_shape(raw, where)
    made = _object if keep is None else lambda pairs: keep(_object(pairs))
    try:
        document = json.loads(raw.decode("utf-8"), object_pairs_hook=made, parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{where}: not JSON ({error})") from error
    return dict(mapping_of(document, where))


def _check_shape(raw: bytes, where: str) -> None:
    """Depth and number of values, found without recursion, in linear time and before anything is made of it."""
    opening, most = raw.count(b"[") + raw.count(b"{"), max(MAX_JSON_VALUES, len(raw) // JSON_VALUE_SIZE)
    if opening <= MAX_JSON_DEPTH and opening + raw.count(b",") <= most:
        return
    values = depth = 0
    for part in _between_strings(raw):
        values += part.count(b"[") + part.count(b"{") + part.count(b",")
        if values > most:
            raise IntegrityError(f"{where}: JSON of more than {most} values")
        for byte in part.translate(None, _NO_BRACKETS):
            depth += 1 if byte in b"[{" else -1
            if depth > MAX_JSON_DEPTH:
                raise IntegrityError(f"{where}: JSON nests deeper than {MAX_JSON_DEPTH} levels")


def _between_strings(raw: bytes) -> Iterator[bytes]:
    position = 0
    for string in _STRING.finditer(raw):
        yield raw[position : string.start()]
        position = string.end()
    yield raw[position:]


def _object(pairs: list[tuple[str, object]]) -> dict[str, object]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        twice = next(name for name, _ in pairs if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise ValueError(f"the name {twice[:100]!r} stands there twice")
    return made


def _no_number(text: str) -> object:
    raise ValueError(f"{text} is no number")


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
