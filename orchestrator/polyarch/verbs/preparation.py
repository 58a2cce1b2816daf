"""An image's layers made ready for `run` by the pull that brings them: while they come in where they become EROFS
images, else when they are there; before the image gets its name.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial
from types import TracebackType
from typing import Self

from polyarch.container.ahead import Ahead
from polyarch.container.forms import form_here, form_there
from polyarch.container.image_layers import ensure, snapshots, snapshots_root
from polyarch.container.record import Form
from polyarch.container.rights import rights_at
from polyarch.container.snapshots import NotAsErofs, keeping
from polyarch.contract.storage import ReadsBlobs
from polyarch.events import Emit
from polyarch.oci.config import ImageConfig, check_layer_count
from polyarch.oci.document import Manifest
from polyarch.selection.types import Candidate
from polyarch.settings import Settings
from polyarch.transfer.growing import GrowingBlobs, Openers
from polyarch.unpack.limits import limits_of
from polyarch.unpack.walks import MakeIndex

_MOST_AHEAD = 128
"""Layers that are read while they come in; each has several files open. Of an image with more, none is."""


class Preparer:
    """Prepares images below the root folder of `settings`. `wants` tells whether a variant is to be prepared.

    Made before other threads work: what can be mounted is tried. Raises StorageError; HostError: the settings ask for a
    form that cannot be mounted here.
    """

    def __init__(self, settings: Settings, wants: Callable[[Candidate], bool], emit: Emit) -> None:
        self.wants = wants
        self._settings = settings
        self._emit = emit
        self._rights = rights_at(settings.root)
        self._new = form_here(settings.layers, snapshots_root(settings), self._rights).form

    def keeping(self) -> AbstractContextManager[None]:
        """Within, nobody removes layers that were made for an image that has no name yet. Raises StorageError."""
        return keeping(snapshots_root(self._settings))

    def begin(self, blobs: GrowingBlobs, manifest: Manifest, config: Callable[[], ImageConfig]) -> Preparation:
        """Layers that are made ready while they come in; `config` is asked when that has arrived."""

        def ahead() -> Ahead | None:
            diff_ids = config().diff_ids
            check_layer_count(config(), len(manifest.layers), manifest.digest)
            if self._form(config()) != "erofs" or len(diff_ids) > _MOST_AHEAD:
                return None
            return Ahead(
                snapshots("erofs", self._rights, self._settings),
                diff_ids,
                lambda number, work: blobs.verified([manifest.layers[number]], lambda layers: work(layers[0])),
                lambda number: blobs.wait(manifest.layers[number].digest),
                limits_of(self._settings),
            )

        return Preparation(lambda: blobs.wait(manifest.config.digest), ahead)

    def complete(self, storage: ReadsBlobs, manifest: Manifest, config: ImageConfig) -> Form:
        """Make what is still missing of an image whose blobs are all there; the form of its layers.

        Raises IntegrityError, StorageError, HostError.
        """
        layers = [partial(storage.open_blob, layer.digest) for layer in manifest.layers]
        return ensure(self._form(config), layers, config.diff_ids, self._rights, self._settings, self._emit)

    def _form(self, config: ImageConfig) -> Form:
        there = form_there(self._settings.layers, snapshots_root(self._settings), self._rights, config.diff_ids)
        return there or self._new


class Preparation:
    """The layers of one image on their way. `config_is_here` waits until `ahead` can be asked."""

    def __init__(self, config_is_here: Callable[[], None], ahead: Callable[[], Ahead | None]) -> None:
        """Both raise when nobody waits any more; this is left after that."""
        self._config_is_here = config_is_here
        self._make = ahead
        self._ahead: Future[Ahead | None] = Future()
        self._thread = threading.Thread(target=self._run, name="prepare", daemon=True)

    def start(self) -> None:
        """Begin, in threads."""
        self._thread.start()

    def indexes(self, layers: Openers) -> Sequence[MakeIndex] | None:
        """What finds names in the layers, by what is read of them here anyway; None where nothing is. Waits for the
        image's config.
        """
        ahead = self._ahead.result()
        return ahead.indexes(layers) if ahead else None

    def finish(self) -> None:
        """Wait until all layers are ready, as far as this makes them.

        Raises IntegrityError, StorageError, HostError; that one cannot be an EROFS image is no error here.
        """
        ahead = self._ahead.result()
        if ahead:
            try:
                ahead.finish()
            except NotAsErofs:
                return  # `complete` unpacks them, or says so

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Wait for the end of all threads; what they were at is taken away."""
        if self._thread.ident is not None:
            self._thread.join()
            if self._ahead.exception() is None and (ahead := self._ahead.result()):
                ahead.close()

    def _run(self) -> None:
        try:
            self._config_is_here()
            ahead = self._make()
            if ahead:
                ahead.start()
            self._ahead.set_result(ahead)
        except BaseException as error:
            self._ahead.set_exception(error)
