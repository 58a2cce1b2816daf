"""What devices said of themselves, kept until it is wanted again: `ROOT/fleet/facts/INVENTORY/DEVICE.json`.

INVENTORY and DEVICE are digests of what the inventory was called, and of the device's name in it: two inventories may
each have a `pi1`. Only the user may read them. A file that is damaged, or of another version, is none.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from polyarch.errors import IntegrityError, StorageError
from polyarch.files import disk_error, make_directory, read_bounded, write_in_one_step
from polyarch.fleet.facts import DeviceFacts
from polyarch.fleet.facts_json import FactsReader, facts_to_json
from polyarch.verbs.fleet.request import whole_path

MAX_FACTS = 16 << 20
"""Bytes of one device's file; what it answers has at most 4 Mi characters."""

KEPT_INVENTORIES = 20
"""Those of others, the longest unused first, are removed when facts of a further one are kept."""

KEPT_SECONDS = 90 * 24 * 3600
"""Facts that are older are removed: of devices that are no more."""

_NEW = ".new"


class FactsCache:
    """The facts of one inventory's devices. May be used by several processes; by one thread each."""

    def __init__(self, folder: Path, inventory: Sequence[str], clock: Callable[[], float] = time.time) -> None:
        """`folder` (`ROOT/fleet/facts`) need not be there yet; `inventory` are the words that name the inventory.

        Relative paths, and the default inventory, are those of the current folder.
        """
        self._all = folder
        words = [whole_path(word) for word in inventory] or ["", str(Path.cwd())]
        self._folder = folder / _digest("\0".join(words))
        self._clock = clock
        self._reader = FactsReader()
        self._ready = False

    def get(self, name: str, max_age: float | None = None) -> DeviceFacts | None:
        """What the device said last, at most `max_age` seconds ago; None where nothing is known.

        With a `max_age`, outdated facts are none.
        """
        try:
            facts = self._reader.read(read_bounded(self._path(name), MAX_FACTS).decode("utf-8"))
        except (OSError, StorageError, IntegrityError, UnicodeDecodeError):
            return None
        if facts.name != name:
            return None
        if max_age is None:
            return facts
        # Where the clock went back there is no telling how old they are.
        return facts if not facts.outdated and 0 <= self._clock() - facts.taken <= max_age else None

    def put(self, facts: DeviceFacts) -> None:
        """Keep facts. Raises StorageError."""
        try:
            if not self._ready:
                self._make()
            data = facts_to_json(facts).encode("utf-8", "backslashreplace")
            with self._alone():
                try:
                    write_in_one_step(self._path(facts.name), data, self._folder / _NEW, sync=False)
                finally:
                    (self._folder / _NEW).unlink(missing_ok=True)
        except OSError as error:
            raise disk_error(error, f"cannot write in {self._folder}") from error

    def outdate(self, name: str) -> None:
        """The device was brought images: what it said of itself stays, what it said of its images and of its disk goes.

        Raises StorageError.
        """
        facts = self.get(name)
        if facts is not None:
            engines = tuple(replace(engine, images=(), blobs=(), free=None) for engine in facts.engines)
            self.put(replace(facts, engines=engines, outdated=True))

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """While it is entered, nobody else writes: what a killed one left is written over. Raises OSError."""
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _path(self, name: str) -> Path:
        return self._folder / f"{_digest(name)}.json"

    def _make(self) -> None:
        """Make the folder, and let what is old go. Raises OSError."""
        make_directory(self._folder, 0o700)
        os.utime(self._folder)
        self._ready = True
        others = [path for path in self._all.iterdir() if path != self._folder]
        for path in sorted(others, key=_used)[: max(0, len(others) - (KEPT_INVENTORIES - 1))]:
            shutil.rmtree(path, ignore_errors=True)
        for path in self._folder.iterdir():
            if time.time() - _used(path) > KEPT_SECONDS:
                with contextlib.suppress(OSError):
                    path.unlink()


def _digest(text: str) -> str:
    return sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:32]


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0
