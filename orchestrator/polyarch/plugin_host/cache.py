"""Remembers which plugins are installed and what they register, so that a plugin is imported only when it is used.

A file for each environment (Python, polyarch, contract, search path, user) below the root folder. It counts as long as
nothing changed of what says which distributions there are, and, for each plugin, of the modules that its hooks came
from. Whatever is wrong with a file, it is not used: no error comes out of here.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import stat
import sys
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType

from polyarch.contract.version import CONTRACT_VERSION
from polyarch.errors import StorageError
from polyarch.files import open_regular, write_in_one_step
from polyarch.plugin_host.discovery import Items, load, load_again
from polyarch.plugin_host.kinds import KINDS, OURS, Point, Registered
from polyarch.version import __version__
from polyarch_platforms.lazy_dataclass import dataclass

_FORM = 1
"""The arrangement of the file; another one is not read."""

_MAX_SIZE = 4 << 20
_KEPT = 8
"""Files of other environments that stay."""

_METADATA = (".dist-info", ".egg-info", ".egg")

_TICK = 2.0
"""Seconds: what changed so lately may change again without a trace (some file systems count whole seconds)."""

Signature = tuple[int, int, int] | None
"""Of a file: when it was changed (ns), its size, its inode. Of a folder of distributions: when the last of them was
changed (ns), their number, a checksum of their names and times. None: it is not there."""


@dataclass(frozen=True, slots=True)
class Known:
    """A plugin, what it registers (None: not known), and the files that this came from."""

    point: Point
    items: Items | None = None
    files: Mapping[str, Signature] | None = None


@dataclass(frozen=True, slots=True)
class Deferred:
    """A factory whose plugin is imported when it is called."""

    point: Point
    kind: str
    name: str
    attribute: str

    def __call__(self, services: object) -> object:
        """What the plugin's own factory makes. Raises what that raises, and LookupError if it is gone."""
        for item in load_again(self.point, self.kind):
            if item.name == self.name:
                return getattr(item, self.attribute)(services)
        raise LookupError(f"it does not register {self.name} any more")


class PluginCache:
    """The file for this process's environment below `root`."""

    def __init__(self, root: Path) -> None:
        self._folder = root / "cache"
        self._path = self._folder / f"plugins-{_environment()}.json"

    def read(self) -> list[Known] | None:
        """The plugins that are installed; None where that is not known.

        Of a plugin that changed only its entry point is known.
        """
        try:
            with open_regular(self._path) as stream:
                status = os.fstat(stream.fileno())
                if status.st_uid != os.geteuid() or status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
                    return None
                document = json.loads(stream.read(_MAX_SIZE))
            if document["form"] != _FORM or document["folders"] != _as_read(_folders()):
                return None
            if not _unchanged(document["entry_points"]):
                return None
            return [_known(entry) for entry in document["plugins"]]
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError, StorageError):
            return None

    def write(self, plugins: Iterable[Known]) -> None:
        """Remember these, all that are installed. A root that is not there is not made for it."""
        folders, entry_points = _folders(), {path: _signature(path) for path in _entry_points()}
        if _is_fresh(folders) or _is_fresh(entry_points):
            return
        document = {
            "form": _FORM,
            "folders": folders,
            "entry_points": entry_points,
            "plugins": [_document(each) for each in plugins],
        }
        with contextlib.suppress(OSError, StorageError, ValueError, TypeError):
            if not self._folder.exists():
                self._folder.mkdir(0o700)
            temporary = self._path.with_suffix(f".{os.getpid()}")
            write_in_one_step(self._path, json.dumps(document).encode(), temporary, sync=False)
            self._remove_old()

    def _remove_old(self) -> None:
        found = sorted(self._folder.glob("plugins-*"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
        for path in found[_KEPT:]:
            path.unlink(missing_ok=True)


def loaded(point: Point) -> tuple[Items, Known]:
    """Load a plugin in earnest; what it registers, and what is to be remembered of it. Raises what `load` raises."""
    before = set(sys.modules)
    items = load(point)
    files = {path: _signature(path) for path in _files(point, before)}
    # Not yet sure to be seen when it changes again: then only the entry point is remembered.
    return items, Known(point) if _is_fresh(files) else Known(point, items, files)


def _environment() -> str:
    """A word for all that a file may not be read under another one of."""
    words = [sys.version, sys.executable, __version__, CONTRACT_VERSION, str(os.geteuid()), *_search_path()]
    return hashlib.sha256("\0".join(words).encode(errors="surrogateescape")).hexdigest()[:16]


def _search_path() -> list[str]:
    return [os.path.abspath(entry) for entry in sys.path]  # noqa: PTH100  # "" is the working directory


def _folders() -> dict[str, Signature]:
    """What says which distributions there are: those in the folders of the search path.

    Installing, updating or removing one makes, or removes, a folder of metadata. The time of the folder around them
    says nothing: it changes with every file, and with the first `__pycache__`.
    """
    return {place: _folder_signature(place) for place in _search_path()}


def _folder_signature(place: str) -> Signature:
    newest = count = checksum = 0
    try:
        with os.scandir(place) as entries:
            found = sorted(
                (entry.name, entry.stat().st_mtime_ns) for entry in entries if entry.name.endswith(_METADATA)
            )
    except NotADirectoryError:
        return _signature(place)  # an archive
    except OSError:
        return None
    for name, changed in found:
        newest, count = max(newest, changed), count + 1
        checksum = zlib.crc32(f"{name}\0{changed}\0".encode(errors="surrogateescape"), checksum)
    return newest, count, checksum


def _entry_points() -> Iterator[str]:
    """The files with entry points of plugins: some tools write those of an editable package anew in their place."""
    for place in _search_path():
        try:
            names = [name for name in os.listdir(place) if name.endswith(_METADATA)]  # noqa: PTH208  # quicker
        except OSError:
            continue
        for name in names:
            path = Path(place, name, "entry_points.txt")
            with contextlib.suppress(OSError):
                if OURS.encode() in path.read_bytes():
                    yield str(path)


def _files(point: Point, before: set[str]) -> Iterator[str]:
    """The modules of a plugin that was just loaded: its package's, and what was imported for it."""
    module_name = point.value.partition(":")[0].strip()
    # A built-in's own folder is its package: they import nothing of each other.
    package = module_name.rpartition(".")[0] if point.built_in else module_name.partition(".")[0]
    for name, module in list(sys.modules.items()):
        top = name.partition(".")[0]
        own = name == package or name.startswith(f"{package}.")
        if own or (name not in before and top not in sys.stdlib_module_names and top != OURS):
            place = getattr(module, "__file__", None) if isinstance(module, ModuleType) else None
            if isinstance(place, str):
                yield place


def _signature(path: str) -> Signature:
    try:
        found = os.stat(path)  # noqa: PTH116  # quicker
    except (OSError, ValueError):
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _as_read(signatures: Mapping[str, Signature]) -> dict[str, list[int] | None]:
    """As JSON gives them back."""
    return {path: list(known) if known else None for path, known in signatures.items()}


def _unchanged(signatures: Mapping[str, object]) -> bool:
    return _as_read({path: _signature(path) for path in signatures}) == signatures


def _is_fresh(signatures: Mapping[str, Signature]) -> bool:
    now = time.time_ns()
    return any(known is not None and abs(now - known[0]) < _TICK * 1e9 for known in signatures.values())


def _document(known: Known) -> dict[str, object]:
    point = known.point
    return {
        "point": [point.name, point.value, point.group, point.project, point.version],
        "files": known.files,
        "items": None if known.items is None else [_item_document(kind, item) for kind, item in known.items],
    }


def _item_document(kind: str, item: Registered) -> dict[str, object]:
    document: dict[str, object] = {field.name: getattr(item, field.name) for field in fields(item)}
    del document["factory"]
    if "search" in document:
        document["search"] = document["search"] is not None
    return {"kind": kind, **document}


def _known(entry: Mapping[str, object]) -> Known:
    """Raises KeyError, TypeError, ValueError and AttributeError for what this module did not write."""
    words = entry["point"]
    if not (isinstance(words, list) and all(isinstance(word, str) for word in words)):
        raise TypeError("no entry point")
    point, files, items = Point(*words), entry["files"], entry["items"]
    if not isinstance(files, dict) or not isinstance(items, list) or not _unchanged(files):
        return Known(point)
    signatures = {path: tuple(was) if was else None for path, was in files.items()}
    return Known(point, tuple(_item(point, dict(item)) for item in items), signatures)


def _item(point: Point, document: dict[str, object]) -> tuple[str, Registered]:
    kind, name = str(document.pop("kind")), str(document["name"])
    for field, value in document.items():
        if isinstance(value, list):
            document[field] = tuple(value)
    if "search" in document:
        document["search"] = Deferred(point, kind, name, "search") if document["search"] else None
    made: Registered = KINDS[kind](**document, factory=Deferred(point, kind, name, "factory"))  # type: ignore[arg-type]
    return kind, made
