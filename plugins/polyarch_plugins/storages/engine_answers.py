"""What the engines of this machine answer: JSON of which nothing is believed, and what it tells of an image."""

from __future__ import annotations

import json
from typing import Any

from polyarch.contract import Digest, ImageSummary, Reference, StorageError, is_digest, parse_config, printable

Described = dict[str, Any]
"""A JSON object as an engine wrote it, such as what it tells of an image: its fields are not checked."""


def parsed(raw: bytes, who: str) -> Any:
    """JSON that the engine `who` wrote. Raises StorageError."""
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise StorageError(f"{who}'s answer is no JSON: {printable(str(error), 200)}") from error


def described(value: object, who: str) -> Described:
    """An object in an answer. Raises StorageError."""
    if isinstance(value, dict):
        return value
    raise StorageError(f"{who}'s answer is no object: {printable(repr(value), 200)}")


def listed(value: object, who: str) -> list[Any]:
    """A list in an answer; an empty one for null, as which Go writes it. Raises StorageError."""
    if value is None:
        return []
    if isinstance(value, list):
        return value
    raise StorageError(f"{who}'s answer is no list: {printable(repr(value), 200)}")


def texts(value: object) -> tuple[str, ...]:
    """The texts in a list; () for what is none."""
    return tuple(each for each in value if isinstance(each, str)) if isinstance(value, list) else ()


def summary(name: Reference, digest: Digest, identifier: object, known: Described, who: str) -> ImageSummary:
    """An image as an engine describes it in docker's words (Os, Architecture, Variant, Created, Size).

    Raises StorageError where ID or size lack, IntegrityError for a platform that is none.
    """
    size = known.get("Size")
    if not isinstance(identifier, str) or not is_digest(identifier) or not isinstance(size, int):
        raise StorageError(f"{who} tells no ID and size of {printable(name.familiar)}")
    stated = {key.lower(): str(known.get(key) or "") for key in ("Os", "Architecture", "Variant")}
    return ImageSummary(
        reference=name,
        id=identifier,
        digest=digest,
        platform=parse_config(json.dumps(stated).encode(), f"{who}, image {name.familiar}").platform,
        created=str(known.get("Created") or ""),
        size=size,
    )
