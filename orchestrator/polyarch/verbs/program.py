"""The program that an image starts, looked for while the image's blobs still come in."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import TYPE_CHECKING, Self

from polyarch.oci.config import ImageConfig
from polyarch.oci.document import Manifest
from polyarch.transfer.growing import GrowingBlobs, Openers
from polyarch.unpack.entrypoint import EntrypointElf, entrypoint_elf, entrypoint_elf_in
from polyarch.unpack.limits import USUAL, Limits

if TYPE_CHECKING:
    from polyarch.unpack.walks import MakeIndex

_WALKERS = min(os.cpu_count() or 1, 2)
"""Layers that are walked at a time: more would take the processor from the transfer, for layers that may not matter."""


class ProgramSearch:
    """Looks for an image's program from the top layer down; each layer as it comes in.

    No more of the layers is read than the answer needs and one below, and the answer is one only when they were
    verified. `config` is called for the image's config when that has arrived.
    """

    def __init__(
        self,
        blobs: GrowingBlobs,
        manifest: Manifest,
        config: Callable[[], ImageConfig],
        indexes: Callable[[Openers], Sequence[MakeIndex] | None] | None = None,
        *,
        limits: Limits = USUAL,
    ) -> None:
        """Leaving `blobs` ends the search; the search is left after that. `indexes` gives what finds names in the
        layers, if somebody else reads them anyway.
        """
        self._indexes = indexes
        self._limits = limits
        self._blobs = blobs
        self._manifest = manifest
        self._config = config
        self._answer: Future[EntrypointElf | None] = Future()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin, in a thread."""
        self._thread = threading.Thread(target=self._run, name="program", daemon=True)
        self._thread.start()

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
        """Wait for the end of the search's thread."""
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        try:
            self._blobs.wait(self._manifest.config.digest)
            self._answer.set_result(self._blobs.verified(self._manifest.layers, self._program))
        except BaseException as error:
            self._answer.set_exception(error)

    def _program(self, layers: Openers) -> EntrypointElf | None:
        indexes = self._indexes(layers) if self._indexes else None
        if indexes is not None:
            from polyarch.unpack.walks import Made

            return entrypoint_elf_in(Made(indexes), self._config())
        return entrypoint_elf(layers, self._config(), ahead=_WALKERS - 1, limits=self._limits)
