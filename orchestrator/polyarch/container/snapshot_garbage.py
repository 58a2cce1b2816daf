"""Removing unpacked layers that nobody needs.

Who removes holds `ROOT/snapshots/locks/prune` all the time, and within it the lock of the containers while he decides:
a container's record names its layers before they are unpacked, so none that is to be used looks unneeded. A pull that
makes layers ready has no name for them before it ends: meanwhile nothing is removed. What goes is renamed then, and
deleted when containers may come again.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Collection, Iterator
from pathlib import Path

from polyarch.container.record import Record
from polyarch.container.rights import Rights, rights_at
from polyarch.container.snapshots import PREPARING
from polyarch.container.state import Containers
from polyarch.files import disk_error, freed_bytes
from polyarch.locks import give_up, open_locked, try_lock
from polyarch.oci.digest import Digest
from polyarch.unpack.tree import remove_tree

_GONE = ".gone."


class SnapshotGarbage:
    """What can go of the snapshots below ROOT. All methods raise StorageError."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._snapshots = root / "snapshots"
        self._locks = self._snapshots / "locks"
        self._found: list[tuple[Digest | None, Path]] = []
        self._needed: Collection[str] = ()
        self.broken: list[Path] = []
        """Folders of containers whose records cannot be read, known within `still`: what they need nobody knows."""

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Within, nobody else removes snapshots. Everything else here is called within."""
        with contextlib.ExitStack() as held:
            if self._locks.is_dir():  # else nothing was ever unpacked
                try:
                    held.callback(os.close, open_locked(self._locks / "prune"))
                except OSError as error:
                    raise disk_error(error, f"cannot lock {self._snapshots}") from error
            yield

    @contextlib.contextmanager
    def still(self) -> Iterator[list[Record]]:
        """Within, no container comes or goes: all that there are. What killed ones left is removed before."""
        containers = Containers(self._root / "containers", self._rights)
        containers.sweep()
        with containers.still() as (records, self.broken):
            self._needed = {layer for record in records for layer in record.layers}
            yield records

    def choose(self, needed: Collection[str], *, only: Collection[str] | None = None, dry_run: bool = False) -> None:
        """Within `still`: give up what is named by no container and not in `needed`; with `only` of these names alone.

        Names are the hexadecimal digits of chain IDs. With `dry_run` all stays where it is.
        """
        self._needed = {*self._needed, *needed}
        if self.broken:
            return
        try:
            with self._nobody_prepares() as nobody:
                if dry_run:
                    self._found = list(self._unneeded(only))
                elif nobody:
                    self._found = [(digest, _aside(path)) for digest, path in self._unneeded(only)]
        except OSError as error:
            raise disk_error(error, f"cannot remove from {self._snapshots}") from error

    def chosen(self) -> list[tuple[Digest | None, int]]:
        """What was given up: chain ID (None for what a killed process left), and the bytes that come free."""
        paths = [path for _, path in self._found]
        try:
            sizes = self._rights.ask(lambda: freed_bytes(paths)) if paths else []
        except OSError as error:
            raise disk_error(error, f"cannot read {self._snapshots}") from error
        return [(digest, size) for (digest, _), size in zip(self._found, sizes, strict=True)]

    def delete(self) -> None:
        """After `still`: delete what was given up, and the locks that nobody needs."""

        def remove() -> None:
            for _, path in self._found:
                remove_tree(path)

        if self._found:
            try:
                self._rights.call(remove)
                self._remove_locks()
            except OSError as error:
                raise disk_error(error, f"cannot remove from {self._snapshots}") from error

    @property
    def _rights(self) -> Rights:
        return rights_at(self._root)

    def _folders(self) -> list[Path]:
        there = self._snapshots.iterdir() if self._snapshots.is_dir() else ()
        return sorted(path for path in there if path != self._locks)

    @contextlib.contextmanager
    def _nobody_prepares(self) -> Iterator[bool]:
        """Whether no pull makes layers ready; within, none begins to. Raises OSError."""
        with contextlib.ExitStack() as held:
            try:
                if self._locks.is_dir():
                    held.callback(os.close, open_locked(self._locks / PREPARING, give_up))
            except BlockingIOError:
                yield False
                return
            yield True

    def _unneeded(self, only: Collection[str] | None) -> Iterator[tuple[Digest | None, Path]]:
        try:
            for path in (path for folder in self._folders() for path in sorted(folder.iterdir())):
                if not path.name.startswith("."):
                    if path.name not in self._needed and (only is None or path.name in only):
                        yield f"sha256:{path.name}", path
                elif only is None and _name_in(path) not in self._needed and self._is_abandoned(path):
                    yield None, path
        except OSError as error:
            raise disk_error(error, f"cannot read {self._snapshots}") from error

    def _is_abandoned(self, path: Path) -> bool:
        """Whether nobody is unpacking what stands under a name with a dot."""
        try:
            descriptor = os.open(self._locks / _name_in(path), os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return True
        try:
            return try_lock(descriptor)
        finally:
            os.close(descriptor)

    def _remove_locks(self) -> None:
        here = {path.name for folder in self._folders() for path in folder.iterdir()}
        for path in sorted(self._locks.iterdir()):
            if path.name in here or path.name in self._needed or path.name in ("prune", PREPARING):
                continue
            with contextlib.suppress(FileNotFoundError):
                descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                try:
                    if try_lock(descriptor):
                        path.unlink()  # whoever waits for it sees that the file has gone, and makes a new one
                finally:
                    os.close(descriptor)


def _name_in(path: Path) -> str:
    """The layer's name in that of a directory on its way: `.NAME.…`."""
    return path.name.split(".")[1]


def _aside(path: Path) -> Path:
    """Rename what nobody may take for a layer any more; where it is now. Raises OSError."""
    gone = path.with_name(f"{_GONE}{secrets.token_hex(8)}")
    path.rename(gone)
    return gone
