"""Layers made ready once, each in a directory of its own named by its chain ID, for all containers of all images.

::

    ROOT/snapshots/FORM/CHAIN_ID     whole, never changed again
    ROOT/snapshots/FORM/.CHAIN_ID…   on its way; removed by the next who wants it, if its maker died
    ROOT/snapshots/FORM/.gone.…      on its way out (snapshot_garbage.py)
    ROOT/snapshots/locks/CHAIN_ID    who makes it
    ROOT/snapshots/locks/prune       who removes what nobody needs
    ROOT/snapshots/locks/preparing   who makes layers of images that have no name yet: shared by all of these

FORM is `erofs`: an EROFS image and the archive that it points into; or the flavour of what is unpacked.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.container.layers import Layers, folder_of
from polyarch.container.overlay import unfit
from polyarch.container.record import Form
from polyarch.container.rights import Rights
from polyarch.errors import HostError
from polyarch.events import Emit, LayerAwaited, LayerUnpacked, ignore
from polyarch.files import disk_error, make_directory, random_name
from polyarch.locks import Patience, give_up, life_of_holder, open_locked
from polyarch.oci.config import chain_ids
from polyarch.oci.digest import Digest, hex_of, short
from polyarch.unpack.erofs.sizes import has_its_sizes
from polyarch.unpack.limits import USUAL, LayerLimits, Limits
from polyarch.unpack.stack import takes_marks
from polyarch.unpack.tree import remove_tree

if TYPE_CHECKING:
    from polyarch.unpack.erofs.layer import Scanned
    from polyarch.unpack.image import OpenLayer

    Ready = Callable[[Scanned | None, Path | None], None]


PREPARING = "preparing"
_FILES_OF_LAYER = 4  # two pipes' ends in the crew, an archive and metadata by whoever is above
_USUAL_FILES = 256


class NotAsErofs(HostError):
    """A layer cannot be an EROFS image; unpacked it can be used."""


class Snapshots:
    """The layers of one form below `root` (`ROOT/snapshots`), made with `rights`; with `sync`, on the disk."""

    def __init__(
        self,
        root: Path,
        rights: Rights,
        form: Form,
        *,
        sync: bool,
        lock_timeout: float = 60.0,
        limits: Limits = USUAL,
    ) -> None:
        """`lock_timeout` is how many seconds another maker of a layer is waited for that does nothing."""
        self._directory = folder_of(root, form, rights.flavour)
        self._form = form
        self._locks = root / "locks"
        self._rights = rights
        self._sync = sync
        self._limits = limits
        self._lock_timeout = lock_timeout

    def paths(self, diff_ids: Sequence[Digest]) -> list[Path]:
        """Where the layers of an image are, or are to be, the topmost first; `diff_ids` stand bottom first."""
        return [self._directory / hex_of(chain_id) for chain_id in chain_ids(tuple(diff_ids))][::-1]

    def layers(self, diff_ids: Sequence[Digest]) -> Layers:
        """The same with their form."""
        return Layers(self._form, tuple(self.paths(diff_ids)))

    def ensure(self, layers: Sequence[OpenLayer], diff_ids: Sequence[Digest], emit: Emit) -> list[Path]:
        """The directories of an image's layers, the topmost first; `layers` and `diff_ids` stand bottom first.

        What is missing is made, or waited for where others make it. A container's record names them before, so that
        nobody removes them meanwhile.
        Raises IntegrityError, StorageError, HostError.
        """
        missing = self.missing(diff_ids)
        if missing:
            self.begin()
            self._await_others(missing, diff_ids, emit)
            missing = self.missing(diff_ids)
        if missing:
            self._rights.call(lambda: self._make_all(missing, layers, diff_ids))
            for number in missing:
                emit(LayerUnpacked(diff_ids[number]))
        return self.paths(diff_ids)

    def missing(self, diff_ids: Sequence[Digest]) -> list[int]:
        """The numbers of an image's layers that are not made yet, from the bottom."""
        return [number for number, path in enumerate(self.paths(diff_ids)[::-1]) if not self._is_made(path)]

    def _is_made(self, path: Path) -> bool:
        """One that the disk has cut short is not: it is made from a blob that is verified then."""
        if self._form != "erofs":
            return path.is_dir()
        try:
            return path.is_dir() and has_its_sizes(path)
        except OSError as error:
            raise disk_error(error, f"cannot read the layer {path}") from error

    def begin(self) -> None:
        """Make the folders that layers and locks are in. Raises StorageError; HostError where no layer can be used."""
        for directory in (self._directory, self._locks):
            _make(directory)
        if self._rights.flavour == "trusted" and self._form == "unpacked":
            _check_marks(self._directory)

    def _await_others(self, missing: Sequence[int], diff_ids: Sequence[Digest], emit: Emit) -> None:
        """Wait until nobody else makes one of the layers, from the bottom: a maker waits for those below, too.

        Here, not where they are made, which is in processes that nobody hears.
        """
        for number in missing:
            with self.locked(number, diff_ids, emit=emit):
                pass

    def _make_all(self, missing: Sequence[int], layers: Sequence[OpenLayer], diff_ids: Sequence[Digest]) -> None:
        from polyarch.container.crew import in_processes

        limits = self._limits.of_layers(len(diff_ids))

        def job(number: int, wait: Callable[[], None]) -> None:
            with self.locked(number, diff_ids) as made:
                if not made:  # else somebody else was at it
                    self.make(number, layers[number], diff_ids, lambda *_: wait(), limits[number])

        try:
            with _open_files(_FILES_OF_LAYER * len(diff_ids)):
                in_processes([partial(job, number) for number in missing])
        except OSError as error:
            raise disk_error(error, f"cannot make {len(missing)} layers") from error

    def make(
        self, number: int, layer: OpenLayer, diff_ids: Sequence[Digest], ready: Ready, limits: LayerLimits
    ) -> None:
        """Make one of an image's layers, its lock being held and the right to make it there.

        `ready` is called when nothing more can be done without those below, and returns when they are made; of an
        EROFS image with what its archive holds, and its path. Raises IntegrityError, StorageError, HostError; Unfit:
        it cannot be an EROFS image.
        """
        *below, path = self.paths(diff_ids)[::-1][: number + 1]
        if path.is_dir():  # damaged; who has it mounted keeps it
            path.rename(path.with_name(f".{path.name[:100]}.{random_name(6)}.damaged"))
        for left in self._directory.glob(f".{path.name[:100]}.*"):
            remove_tree(left)
        if self._form == "erofs":
            from polyarch.container.erofs_layer import Unfit, make_erofs_layer

            try:
                make_erofs_layer(
                    layer, diff_ids[number], path, below[::-1], limits=limits, sync=self._sync, ready=ready
                )
            except Unfit as error:
                what = f"layer {short(diff_ids[number])} cannot be an EROFS image: {error}"
                raise NotAsErofs(what, 'set layers = "auto" in the settings file') from error
            return
        from polyarch.unpack.image import unpack_layer

        unpack_layer(
            layer,
            diff_ids[number],
            path,
            below[::-1],
            flavour=self._rights.flavour,
            owners=self._rights.owners,
            limits=limits,
            sync=self._sync,
            wait=lambda: ready(None, None),
        )

    @contextlib.contextmanager
    def locked(
        self, number: int, diff_ids: Sequence[Digest], *, wait: bool = True, emit: Emit = ignore
    ) -> Iterator[bool]:
        """One maker of a layer at a time; the lock goes with its holder, whatever ends it. Whether the layer is made.

        Who has it is waited for as long as he gets on, by the processor time that he uses, and told. Raises
        StorageError; BlockingIOError, without `wait`, where somebody else has it.
        """
        path, diff_id = self.paths(diff_ids)[::-1][number], diff_ids[number]
        lock = self._locks / path.name
        patience = Patience(
            lock,
            f"the layer {short(diff_id)}",
            self._lock_timeout,
            lambda: life_of_holder(lock),
            lambda holder: emit(LayerAwaited(diff_id, holder)),
        )
        try:
            descriptor = open_locked(lock, patience.wait if wait else give_up)
        except BlockingIOError:
            raise
        except OSError as error:
            raise disk_error(error, f"cannot lock the snapshot {short('sha256:' + path.name)}") from error
        try:
            yield self._is_made(path)
        finally:
            _unlock(descriptor)


@contextlib.contextmanager
def keeping(root: Path) -> Iterator[None]:
    """Within, none of the layers below `root` (`ROOT/snapshots`) is removed, needed or not. Raises StorageError."""
    _make(root / "locks")
    try:
        descriptor = open_locked(root / "locks" / PREPARING, shared=True)
    except OSError as error:
        raise disk_error(error, f"cannot lock {root}") from error
    try:
        yield
    finally:
        _unlock(descriptor)


@contextlib.contextmanager
def _open_files(count: int) -> Iterator[None]:
    """Within, this process and its children may have so many files open beside the usual ones, if they may at all."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, count + _USUAL_FILES)), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def _unlock(descriptor: int) -> None:
    fcntl.flock(descriptor, fcntl.LOCK_UN)  # else a child that was forked meanwhile would hold it on
    os.close(descriptor)


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
