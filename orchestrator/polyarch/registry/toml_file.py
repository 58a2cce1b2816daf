"""Reading TOML that other tools' users write: bounded, and every fault names the file."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping, Sequence
from pathlib import Path

from polyarch import toml_text
from polyarch.errors import UsageError, printable

MAX_SIZE = 1 << 20
"""Bytes of a file that are read."""


class Fault(Exception):
    """What is wrong in a document, without the file's name."""


def read_toml(path: Path, what: str) -> bytes | None:
    """The bytes of a file, which is called `what` in errors; None if there is none. Raises UsageError."""
    try:
        with open(path, "rb", opener=_without_waiting) as stream:
            if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode) and path != Path(os.devnull):
                raise UsageError(f"{what} {path}: no regular file")
            raw = stream.read(MAX_SIZE + 1)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UsageError(f"{what} {path}: {error.strerror}") from error
    if len(raw) > MAX_SIZE:
        raise UsageError(f"{what} {path}: larger than {MAX_SIZE} bytes")
    return raw


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)  # a pipe must not hold us


def parse_toml(raw: bytes) -> dict[str, object]:
    """The document. Raises Fault, which has line and column."""
    try:
        return toml_text.parse(raw.decode())
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise Fault(f"no UTF-8 (at line {line})") from error
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        raise Fault(printable(str(error), 300) or "no TOML") from error


def table(value: object, where: str) -> Mapping[str, object]:
    """A table, {} where there is none. Raises Fault."""
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise Fault(f"{where} has to be a table")
    return value


def tables(value: object, where: str) -> Sequence[Mapping[str, object]]:
    """An array of tables. Raises Fault."""
    if value is None:
        return ()
    if not isinstance(value, list) or not all(isinstance(each, dict) for each in value):
        raise Fault(f"{where} has to be an array of tables: [[{where}]]")
    return value


def text(value: object, where: str) -> str:
    """A string, "" where there is none. Raises Fault."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Fault(f"{where} has to be a string")
    return value


def flag(value: object, where: str) -> bool:
    """true or false; false where there is none. Raises Fault."""
    if value is None:
        return False
    if not isinstance(value, bool):
        raise Fault(f"{where} has to be true or false")
    return value


def texts(value: object, where: str) -> tuple[str, ...] | None:
    """An array of strings; None where there is none. Raises Fault."""
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Fault(f"{where} has to be an array of strings")
    return tuple(value)
