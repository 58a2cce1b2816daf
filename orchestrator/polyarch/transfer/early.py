"""A load that has begun while blobs still come: it runs in a thread of its own, and waits for them."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from polyarch.contract.storage import HasBlobFiles, Image, LoadsEarly
from polyarch.errors import StorageError
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest

_GRACE = 0.5
"""Seconds that a load gets to stop which is given up; whoever reads from an engine that is silent may take longer."""


class _GivenUp(StorageError):
    def __init__(self) -> None:
        super().__init__("the pull ended before the image was whole")


class EarlyLoad:
    """Begins when it is entered. What is not finished when it is left comes to nothing."""

    def __init__(self, loader: LoadsEarly, image: Image, files: HasBlobFiles) -> None:
        self._loader, self._image, self._files = loader, image, files
        self._here: set[Digest] = set()
        self._proven = self._over = False
        self._changed = threading.Condition()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="load", daemon=True)

    def __enter__(self) -> Self:
        """Itself."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give it up, unless it is finished."""
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self._thread.join(_GRACE)

    def arrived(self, blob: Descriptor) -> None:
        """Tell that a blob is here, whole and verified, or not needed; from any thread."""
        with self._changed:
            self._here.add(blob.digest)
            self._changed.notify_all()

    def finish(self) -> None:
        """All blobs are here, and the image is what it says: wait for its end. Raises what the load raises."""
        with self._changed:
            self._proven = True
            self._changed.notify_all()
        self._thread.join()
        if self._error is not None:
            raise self._error

    def blob_path(self, digest: Digest) -> Path:
        """The file of the blob, once it is here: the loader's thread waits. Raises NotFoundError and StorageError."""
        self._wait(lambda: digest in self._here)
        return self._files.blob_path(digest)

    def _await_proof(self) -> None:
        self._wait(lambda: False)

    def _wait(self, condition: Callable[[], bool]) -> None:
        """Until the condition holds, or nothing more is to be waited for. Raises _GivenUp."""
        with self._changed:
            self._changed.wait_for(lambda: self._over or self._proven or condition())
        if self._over:
            raise _GivenUp

    def _run(self) -> None:
        try:
            self._loader.load_early(self._image, self, self._await_proof)
        except BaseException as error:
            self._error = error
