"""An image's layers made ready while their blobs still come in, each in a thread of its own.

Threads, because what comes in is known to this process alone; decompressing, hashing and writing let others run.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from polyarch.container.snapshots import Snapshots
from polyarch.errors import StorageError
from polyarch.oci.digest import Digest
from polyarch.unpack.layer_index import LayerIndex, Names
from polyarch.unpack.limits import USUAL, Limits

if TYPE_CHECKING:
    from polyarch.unpack.erofs.scanned import Scanned
    from polyarch.unpack.image import OpenLayer
    from polyarch.unpack.walks import MakeIndex

_Scan = tuple["Scanned", int]


class _GivenUp(StorageError):
    """A layer is not made here: somebody else makes it, or one below, or nobody waits any more."""


class Ahead:
    """Makes layers ready as EROFS images. All numbers of layers are from the bottom."""

    def __init__(
        self,
        snapshots: Snapshots,
        diff_ids: Sequence[Digest],
        read: Callable[[int, Callable[[OpenLayer], None]], None],
        verified: Callable[[int], None],
        limits: Limits = USUAL,
    ) -> None:
        """`read` calls a function with what opens a layer, as far as that is here, and again where it begins again;
        `verified` returns when a layer's blob is whole and held against its digest, and no layer gets its name before.
        Both raise what ends the work when nobody waits any more. `close` is called after that.
        """
        self._snapshots = snapshots
        self._diff_ids = diff_ids
        self._read = read
        self._verified = verified
        self._limits = limits.of_layers(len(diff_ids))
        self._scans: list[Future[_Scan]] = [Future() for _ in diff_ids]
        self._made: list[Future[None]] = [Future() for _ in diff_ids]
        self._threads = [
            threading.Thread(target=self._prepare, args=(number,), name=f"layer-{number}", daemon=True)
            for number in range(len(diff_ids))
        ]

    def start(self) -> None:
        """Begin, in threads. Raises StorageError."""
        self._snapshots.begin()
        for thread in self._threads:
            thread.start()

    def indexes(self, layers: Sequence[OpenLayer]) -> list[MakeIndex]:
        """What makes an index of each layer, from what was found on the way; from `layers` where that cannot be."""
        return [partial(self._index, number, opener) for number, opener in enumerate(layers)]

    def finish(self) -> None:
        """Wait until nothing more is made here, so that no lock is held. Raises what the lowest layer raised:
        IntegrityError, StorageError, HostError, NotAsErofs.
        """
        for error in [made.exception() for made in self._made]:
            if error is not None and not isinstance(error, _GivenUp):
                raise error

    def close(self) -> None:
        """Wait for the end of all threads; what they were at is taken away."""
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()
        for scan in self._scans:
            if scan.done() and scan.exception() is None:
                os.close(scan.result()[1])
        self._scans.clear()

    def _prepare(self, number: int) -> None:
        try:
            with self._snapshots.locked(number, self._diff_ids, wait=False) as made:
                if not made:
                    self._read(number, partial(self._make, number))
            self._made[number].set_result(None)
        except BlockingIOError:
            self._made[number].set_exception(_GivenUp("somebody else makes the layer"))
        except BaseException as error:
            self._made[number].set_exception(error)
        finally:
            if not self._scans[number].done():
                self._scans[number].set_exception(_GivenUp("the layer was not scanned"))

    def _make(self, number: int, layer: OpenLayer) -> None:
        self._snapshots.make(number, layer, self._diff_ids, partial(self._between, number), self._limits[number])

    def _between(self, number: int, scanned: Scanned | None, archive: Path | None) -> None:
        """The archive is written; what is left needs the layers below."""
        if scanned is not None and archive is not None:
            self._scans[number].set_result((scanned, os.open(archive, os.O_RDONLY | os.O_CLOEXEC)))
        for below in self._made[:number]:
            if below.exception() is not None:
                raise _GivenUp("a layer below is not made here")
        self._verified(number)

    def _index(self, number: int, layer: OpenLayer, wanted: frozenset[bytes]) -> Names:
        """Raises IntegrityError where the layer is no sound archive."""
        from polyarch.unpack.scanned_index import ScannedIndex

        try:
            scanned, archive = self._scans[number].result()
        except _GivenUp:
            with contextlib.suppress(_GivenUp):
                self._made[number].result()  # what is wrong with the layer
            return LayerIndex(layer, f"layer {number + 1}", wanted, limits=self._limits[number])
        return ScannedIndex(scanned, archive)
