"""JSON that is refused at the slightest surprise: an unknown or a repeated key, a value of another kind."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Collection, Mapping
from typing import cast


def parse(raw: bytes) -> object:
    """The JSON value in `raw`. Raises ValueError, also for a key that stands twice in one object."""
    try:
        return cast(object, json.loads(raw.decode("utf-8"), object_pairs_hook=_once, parse_constant=_no_number))
    except RecursionError as error:
        raise ValueError("it nests too deep") from error


def object_of(value: object, needed: Collection[str], optional: Collection[str] = ()) -> Mapping[str, object]:
    """`value` if it is an object with all keys of `needed`, perhaps some of `optional`, and no other. ValueError."""
    found = any_object(value)
    if missing := [key for key in needed if key not in found]:
        raise ValueError(f"{missing[0]!r} is missing")
    if unknown := [key for key in found if key not in needed and key not in optional]:
        raise ValueError(f"there is no key {unknown[0]!r}")
    return found


def any_object(value: object) -> Mapping[str, object]:
    """`value` if it is an object. Raises ValueError."""
    if not isinstance(value, dict):
        raise ValueError(f"an object is wanted, not {type(value).__name__}")
    return value


def text(found: Mapping[str, object], key: str) -> str:
    """The string under `key`. Raises ValueError."""
    value = found.get(key)
    if not isinstance(value, str):
        raise ValueError(f"{key!r} is not a string")
    return value


def texts(found: Mapping[str, object], key: str) -> tuple[str, ...]:
    """The list of strings under `key`. Raises ValueError."""
    value = found.get(key)
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise ValueError(f"{key!r} is not a list of strings")
    return tuple(value)


def bytes_of(encoded: str, what: str) -> bytes:
    """What base64 stands for (RFC 4648, section 4; line ends in it are passed over, as Go does). Raises ValueError."""
    try:
        return base64.b64decode(encoded.replace("\r", "").replace("\n", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"{what!r} is not base64") from error


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key {next(key for key in keys if keys.count(key) > 1)!r} stands twice")
    return found


def _no_number(name: str) -> object:
    raise ValueError(f"{name} is no number")
