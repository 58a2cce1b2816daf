"""The lock file: TOML of one form only, so that a change shows as the lines that changed, and nothing else.

It is read strictly. What `write_lock` would not have written (another order, a comment, a field that is not known) was
not written by polyarch, and is refused with its line rather than half understood.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import tomllib
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from polyarch import toml_text
from polyarch.errors import PolyarchError, StorageError, UsageError, printable
from polyarch.files import disk_error, is_disk_fault, is_there, read_bounded, write_in_one_step
from polyarch.lock.locked import Lock, LockedImage, LockedVariant
from polyarch.oci.digest import is_digest
from polyarch.reference import Reference, parse_reference

DEFAULT_FILE = "polyarch.lock"
VERSION = 1
MAX_SIZE = 16 << 20
"""Bytes of a lock file that are read."""

MARK = re.compile(r"^(?:<{7}|={7}|>{7}|\|{7})(?:[ \r].*)?$", re.MULTILINE)
"""What version control leaves in a file that two people changed."""

_PLATFORM = re.compile(r"[A-Za-z0-9_.-]{1,64}(?:/[A-Za-z0-9_.-]{1,64}){1,2}", re.ASCII)
_HEAD = "# What image names stand for. Written by `polyarch lock`, to be kept in version control.\n"
_ANEW = "take it back out of version control, or make it anew with: polyarch lock REF..."
_IMAGE = {"reference", "digest", "served_by", "locked", "platforms", "variants"}
_VARIANT = {"platform", "manifest", "size", "reference"}


def read_lock(path: Path) -> Lock:
    """The lock in a file. Raises UsageError: no such file, or not as polyarch writes it (with the line);
    StorageError: the disk is faulty.
    """
    try:
        raw = read_bounded(path, MAX_SIZE)
    except FileNotFoundError as error:
        raise UsageError(f"there is no lock file {path}", "make one with: polyarch lock REF...") from error
    except OSError as error:
        raise _refused(error, path) from error
    except StorageError as error:
        raise UsageError(f"lock file {path}: {error.message.removeprefix(f'{path} ')}") from error
    try:
        text = raw.decode()
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{path}, line {line}: this is no UTF-8", _ANEW) from error
    return parse_lock(text, str(path))


def change_lock(path: Path, change: Callable[[Lock], Lock]) -> None:
    """Let the file hold what `change` makes of the lock in it, of an empty one if there is no file.

    In one step, and one after the other where several do it. What stays the same is not written. Raises UsageError,
    StorageError.
    """
    path = Path(os.path.realpath(path))  # where it is a link, what it leads to is meant
    try:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise _refused(error, path) from error
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        old = read_lock(path) if is_there(path) else None
        new = change(old or Lock())
        if new != old:
            write_in_one_step(path, format_lock(new).encode(), path.with_name(f".{path.name}.new"), sync=True)
    except OSError as error:
        raise disk_error(error, f"cannot write {path}") from error
    finally:
        os.close(folder)


def _refused(error: OSError, path: Path) -> PolyarchError:
    if is_disk_fault(error):
        return disk_error(error, f"lock file {path}")
    return UsageError(f"lock file {path}: {error.strerror}")


def format_lock(lock: Lock) -> str:
    """The text of a lock file: a line a fact, so that a diff of two shows what moved."""
    blocks = [f"{_HEAD}version = {VERSION}\n", *map(_block, lock.images)]
    return "\n".join(blocks)


def _block(image: LockedImage) -> str:
    lines = [
        "[[image]]",
        f"reference = {_quoted(str(image.reference))}",
        f"digest = {_quoted(image.digest)}",
        *([f"served_by = {_quoted(image.served_by)}"] if image.served_by else []),
        f"locked = {image.locked:%Y-%m-%dT%H:%M:%SZ}",
        *([f"platforms = [{', '.join(map(_quoted, image.platforms))}]"] if image.platforms else []),
        "variants = [",
        *(f"    {{ {_fields(variant)} }}," for variant in image.variants),
        "]",
    ]
    return "\n".join(lines) + "\n"


def _fields(variant: LockedVariant) -> str:
    texts = [f"platform = {_quoted(variant.platform)}", f"manifest = {_quoted(variant.manifest)}"]
    elsewhere = [f"reference = {_quoted(variant.reference)}"] if variant.reference else []
    return ", ".join([*texts, f"size = {variant.size}", *elsewhere])


def _quoted(text: str) -> str:
    """A basic string: JSON's escapes are TOML's, which wants DEL escaped, too."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")


def parse_lock(text: str, where: str) -> Lock:
    """The lock that `text` is; `where` is the file's name for errors. Raises UsageError with the line."""
    if mark := MARK.search(text):
        line = text.count("\n", 0, mark.start()) + 1
        hint = "settle it: take one side whole (git checkout --ours or --theirs), then run polyarch lock again"
        raise UsageError(f"{where}, line {line}: a merge conflict is not settled: {mark[0][:40].rstrip()}", hint)
    try:
        document = toml_text.parse(text)
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        message, line = _toml_fault(text, error)
        raise UsageError(f"{where}, line {line}: {message}", _ANEW) from error
    version = document.get("version")
    if version != VERSION or isinstance(version, bool):
        line = _line_of(text, 0, "version")
        if "version" not in document:
            raise UsageError(f"{where}, line {line}: this is no lock file: it states no version", _ANEW)
        said = printable(str(version), 40)
        hint = "use the polyarch that wrote it, or make it anew with: polyarch lock REF..."
        raise UsageError(f"{where}, line {line}: version {said}; this polyarch reads version {VERSION}", hint)
    read: dict[str, LockedImage] = {}
    for i, each in enumerate(_images(document, text, where)):
        place = _Place(text, where, i)
        image = _image(each, place)
        if read.setdefault(str(image.reference), image) is not image:
            place.fault(f"{image.reference} stands here twice", "reference")
    lock = Lock().with_images(read.values())
    _check_form(text, format_lock(lock), where)
    return lock


def _toml_fault(text: str, error: Exception) -> tuple[str, int]:
    said = str(error) or "no TOML"
    at = re.search(r" \(at (?:line (\d+), column \d+|end of document)\)", said)
    line = int(at[1]) if at and at[1] else len(text.splitlines()) or 1 if at else 1
    return printable(said[: at.start()] if at else said, 300), line


def _check_form(text: str, canonical: str, where: str) -> None:
    given, wanted = text.replace("\r\n", "\n").split("\n"), canonical.split("\n")
    for i in range(max(len(given), len(wanted))):
        left, right = (lines[i] if i < len(lines) else None for lines in (given, wanted))
        if left != right:
            shown = f", here '{printable(right, 120)}'" if right else ", here nothing"
            raise UsageError(f"{where}, line {i + 1}: edited by hand: polyarch writes it otherwise{shown}", _ANEW)


class _Place:
    """Where in the file an image is, for errors: tomllib tells no lines of what it could read."""

    def __init__(self, text: str, where: str, image: int) -> None:
        self._text, self._where, self._image = text, where, image

    def fault(self, what: str, key: str = "", variant: int | None = None) -> NoReturn:
        """Raise a UsageError with the line of the image's `key`, or of one of its variants."""
        starts = [match.start() for match in re.finditer(r"^[ \t]*\[\[", self._text, re.MULTILINE)]
        start = starts[self._image] if self._image < len(starts) else 0
        line = _line_of(self._text, start, key)
        if variant is not None:
            opened = list(re.finditer(r"\{", self._text[start:]))
            if variant < len(opened):
                line = self._text.count("\n", 0, start + opened[variant].start()) + 1
        raise UsageError(f"{self._where}, line {line}: {what}", _ANEW)


def _line_of(text: str, start: int, key: str) -> int:
    """The line where `key` is set, from `start` on and before the next image; that of `start` if it is not."""
    first = text.count("\n", 0, start) + 1
    end = text.find("\n[[", start)
    lines = text[start : end if end > 0 else len(text)].split("\n")
    return next((first + i for i, line in enumerate(lines) if key and _sets(line, key)), first)


def _sets(line: str, key: str) -> bool:
    """True if `key = ...` is what the line says. No regular expression: blanks on both sides of a key that is not
    there would take it the square of their number.
    """
    line = line.lstrip(" \t").removeprefix('"')
    return line.startswith(key) and line[len(key) :].removeprefix('"').lstrip(" \t").startswith("=")


def _images(document: Mapping[str, object], text: str, where: str) -> list[Mapping[str, object]]:
    for key in document:
        if key not in ("version", "image"):
            line = _line_of(text, 0, key) if f"[{key}" not in text else text.count("\n", 0, text.index(f"[{key}")) + 1
            raise UsageError(f"{where}, line {line}: '{printable(key, 80)}' is nothing that a lock holds", _ANEW)
    images = document.get("image", [])
    if not isinstance(images, list) or not all(isinstance(each, dict) for each in images):
        line = text.count("\n", 0, max(text.find("image"), 0)) + 1
        raise UsageError(f"{where}, line {line}: images are written as [[image]]", _ANEW)
    return images


def _image(image: Mapping[str, object], place: _Place) -> LockedImage:
    _check_keys(image, _IMAGE, lambda what, key: place.fault(what, key))
    reference = _reference(image.get("reference"), lambda what: place.fault(what, "reference"))
    digest = image.get("digest")
    if not isinstance(digest, str) or not is_digest(digest):
        place.fault("the digest is not sha256: and 64 lower-case hex digits", "digest")
    if reference.digest and reference.digest != digest:
        place.fault("the digest is another one than the name has", "digest")
    served_by = image.get("served_by", "")
    if not isinstance(served_by, str):
        place.fault("served_by is a host", "served_by")
    locked = image.get("locked")
    if not isinstance(locked, datetime) or locked.utcoffset() is None:
        place.fault("locked is a time such as 2026-01-31T12:00:00Z", "locked")
    platforms = image.get("platforms", [])
    if not isinstance(platforms, list) or not all(_is_platform(each) for each in platforms):
        place.fault("platforms is a list such as ['linux/amd64', 'linux/arm/v7']", "platforms")
    variants = image.get("variants")
    if not isinstance(variants, list) or not variants or not all(isinstance(each, dict) for each in variants):
        place.fault("variants is a list of tables with platform, manifest and size", "variants")
    read = tuple(_variant(each, i, place) for i, each in enumerate(variants))
    if list(read) != sorted(read, key=lambda each: each.platform):
        place.fault("the variants are not sorted by platform", "variants")
    return LockedImage(reference, digest, read, locked.astimezone(UTC), served_by, tuple(platforms))


def _variant(variant: Mapping[str, object], number: int, place: _Place) -> LockedVariant:
    def fault(what: str) -> NoReturn:
        place.fault(what, variant=number)

    _check_keys(variant, _VARIANT, lambda what, key: fault(what))
    platform, manifest, size = (variant.get(key) for key in ("platform", "manifest", "size"))
    if not isinstance(platform, str) or not _is_platform(platform):
        fault("the variant's platform is not OS/ARCHITECTURE[/VARIANT]")
    if not isinstance(manifest, str) or not is_digest(manifest):
        fault("the variant's manifest is not sha256: and 64 lower-case hex digits")
    if not isinstance(size, int) or isinstance(size, bool) or size < 0:
        fault("the variant's size is not a number of bytes")
    elsewhere = str(_reference(variant["reference"], fault)) if "reference" in variant else ""
    return LockedVariant(platform, manifest, size, elsewhere)


def _check_keys(table: Mapping[str, object], known: set[str], fault: Callable[[str, str], NoReturn]) -> None:
    for key in table:
        if key not in known:
            fault(f"'{printable(key, 80)}' is nothing that a lock holds", key)


def _reference(value: object, fault: Callable[[str], NoReturn]) -> Reference:
    """A whole name, as it is written only."""
    if not isinstance(value, str):
        fault("there is no reference")
    try:
        reference = parse_reference(value)
    except PolyarchError as error:
        fault(error.message)
    if str(reference) != value:
        fault(f"the whole name is {reference}")
    return reference


def _is_platform(value: object) -> bool:
    """True for a platform as indexes and configs state it: an `arm` without variant stays one."""
    return isinstance(value, str) and _PLATFORM.fullmatch(value) is not None
