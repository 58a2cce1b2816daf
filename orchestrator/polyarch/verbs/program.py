"""The program that an image starts, looked for while the image's blobs still come in."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial
from types import TracebackType
from typing import BinaryIO, Self, cast

from polyarch.contract.storage import ReadsBlobs
from polyarch.errors import StorageError
from polyarch.oci.config import ImageConfig
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest
from polyarch.oci.document import Manifest
from polyarch.unpack.entrypoint import EntrypointElf, entrypoint_elf

_WALKERS = min(os.cpu_count() or 1, 2)
"""Layers that are walked at a time: more would take the processor from the transfer, for layers that may not matter."""


class ProgramSearch:
    """Looks for an image's program from the top layer down; each layer as soon as its blob is in the storage.

    Only verified blobs are read, and no more of them than the answer needs and one below. `config` is called for the
    image's config when that has arrived.
    """

    def __init__(self, storage: ReadsBlobs, manifest: Manifest, config: Callable[[], ImageConfig]) -> None:
        self._storage = storage
        self._manifest = manifest
        self._config = config
        self._blobs = _Arrivals()
        self._answer: Future[EntrypointElf | None] = Future()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread = threading.Thread(target=self._run, name="program", daemon=True)
        self._thread.start()

    def arrived(self, blob: Descriptor) -> None:
        """Tell that a blob is in the storage, whole and verified; from any thread."""
        self._blobs.add(blob.digest)

    def result(self) -> EntrypointElf | None:
        """The program once all blobs are there, whether the search has begun before or not; None if there is none.

        Raises IntegrityError where a layer that had to be read is no sound archive.
        """
        if self._thread is None:
            self.start()
        return self._answer.result()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End all threads, however far they are."""
        self._blobs.close()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._blobs.wait(self._manifest.config.digest)
            self._answer.set_result(entrypoint_elf(self._layers(), self._config(), ahead=_WALKERS - 1))
        except BaseException as error:
            self._answer.set_exception(error)
        finally:
            self._blobs.close()  # ends the walk of a layer that turned out not to matter

    def _layers(self) -> Sequence[Callable[[], BinaryIO]]:
        return [partial(self._open, layer.digest) for layer in self._manifest.layers]

    def _open(self, digest: Digest) -> BinaryIO:
        self._blobs.wait(digest)
        return cast("BinaryIO", _UntilClosed(self._storage.open_blob(digest), self._blobs))


class _Stopped(StorageError):
    """Nobody waits for the answer any more: the blobs cannot be read further."""

    def __init__(self) -> None:
        super().__init__("the search for the program was ended")


class _Arrivals:
    """Which blobs are here, for those who wait for them."""

    def __init__(self) -> None:
        self._here: set[Digest] = set()
        self._changed = threading.Condition()
        self._closed = False

    def add(self, digest: Digest) -> None:
        with self._changed:
            self._here.add(digest)
            self._changed.notify_all()

    def wait(self, digest: Digest) -> None:
        """Raises _Stopped."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or digest in self._here)
        self.stop_if_closed()

    def stop_if_closed(self) -> None:
        """Raises _Stopped."""
        if self._closed:
            raise _Stopped

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._changed.notify_all()


class _UntilClosed:
    """A blob that can be read until the search is over."""

    def __init__(self, stream: BinaryIO, blobs: _Arrivals) -> None:
        self._stream = stream
        self._blobs = blobs

    def read(self, size: int) -> bytes:
        self._blobs.stop_if_closed()
        return self._stream.read(size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
