"""Layers unpacked once, each in a directory of its own named by its chain ID, for all containers of all images.

::

    ROOT/snapshots/FLAVOUR/CHAIN_ID     whole, never changed again
    ROOT/snapshots/FLAVOUR/.CHAIN_ID…   on its way; removed by the next who wants it, if its maker died
    ROOT/snapshots/FLAVOUR/.gone.…      on its way out (snapshot_garbage.py)
    ROOT/snapshots/locks/CHAIN_ID       who unpacks it
    ROOT/snapshots/locks/prune          who removes what nobody needs
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.container.overlay import unfit
from polyarch.container.rights import Rights
from polyarch.events import Emit, LayerUnpacked
from polyarch.files import disk_error, make_directory
from polyarch.oci.config import chain_ids
from polyarch.oci.digest import Digest, hex_of, short
from polyarch.unpack.stack import takes_marks
from polyarch.unpack.tree import remove_tree

if TYPE_CHECKING:
    from polyarch.unpack.image import OpenLayer


class Snapshots:
    """The unpacked layers below `root` (`ROOT/snapshots`), made with `rights`; with `sync`, on the disk."""

    def __init__(self, root: Path, rights: Rights, *, sync: bool) -> None:
        self._directory = root / rights.flavour
        self._locks = root / "locks"
        self._rights = rights
        self._sync = sync

    def paths(self, diff_ids: Sequence[Digest]) -> list[Path]:
        """Where the layers of an image are, or are to be, the topmost first; `diff_ids` stand bottom first."""
        return [self._directory / hex_of(chain_id) for chain_id in chain_ids(tuple(diff_ids))][::-1]

    def ensure(self, layers: Sequence[OpenLayer], diff_ids: Sequence[Digest], emit: Emit) -> list[Path]:
        """The directories of an image's layers, the topmost first; `layers` and `diff_ids` stand bottom first.

        What is missing is unpacked. A container's record names them before, so that nobody removes them meanwhile.
        Raises IntegrityError, StorageError, HostError.
        """
        paths = self.paths(diff_ids)[::-1]
        missing = [number for number, path in enumerate(paths) if not path.is_dir()]
        if missing:
            for directory in (self._directory, self._locks):
                _make(directory)
            if self._rights.flavour == "trusted":
                _check_marks(self._directory)
            self._rights.call(lambda: self._unpack_all(missing, layers, diff_ids, paths))
            for number in missing:
                emit(LayerUnpacked(diff_ids[number]))
        return paths[::-1]

    def _unpack_all(
        self, missing: Sequence[int], layers: Sequence[OpenLayer], diff_ids: Sequence[Digest], paths: Sequence[Path]
    ) -> None:
        from polyarch.container.crew import in_processes
        from polyarch.unpack.image import unpack_layer

        def unpack(number: int, wait: Callable[[], None]) -> None:
            path = paths[number]
            with self._locked(path.name):
                if path.is_dir():
                    return  # somebody else was at it
                for left in self._directory.glob(f".{path.name[:100]}.*"):
                    remove_tree(left)
                unpack_layer(
                    layers[number],
                    diff_ids[number],
                    path,
                    paths[:number][::-1],
                    flavour=self._rights.flavour,
                    owners=self._rights.owners,
                    sync=self._sync,
                    wait=wait,
                )

        in_processes([partial(unpack, number) for number in missing])

    @contextlib.contextmanager
    def _locked(self, name: str) -> Iterator[None]:
        """One at a time; the lock goes with its holder, whatever ends it."""
        try:
            descriptor = open_locked(self._locks / name)
        except OSError as error:
            raise disk_error(error, f"cannot lock the snapshot {short('sha256:' + name)}") from error
        try:
            yield
        finally:
            os.close(descriptor)


def open_locked(path: Path) -> int:
    """A descriptor of the file, made if it is missing, locked for this caller alone; waits. Raises OSError."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_ino == os.fstat(descriptor).st_ino:
                    return descriptor
        except BaseException:
            os.close(descriptor)
            raise
        os.close(descriptor)  # the file was pruned since it was opened


def _make(directory: Path) -> None:
    try:
        make_directory(directory, 0o700)
    except OSError as error:
        raise disk_error(error, f"cannot make {directory}") from error


def _check_marks(directory: Path) -> None:
    """Raises HostError where overlayfs will take no layer, before one is unpacked in vain."""
    try:
        if takes_marks(directory, "trusted"):
            return
    except OSError as error:
        raise disk_error(error, f"cannot use {directory}") from error
    raise unfit(directory, "trusted")
