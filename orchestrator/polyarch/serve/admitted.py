"""What may be read under one path of a server, and what became of it."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from typing import BinaryIO

from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.errors import PolyarchError, StorageError
from polyarch.files import disk_error, open_regular
from polyarch.oci.digest import Digest, digest_of
from polyarch.oci.document import Document


class Admitted:
    """What can be read under one path, and what became of it."""

    def __init__(self, images: Sequence[Image], blobs: HasBlobFiles, root: Document | None) -> None:
        documents = [image.manifest for image in images]
        self.root = root
        self.documents: tuple[Document, ...] = (root, *documents) if root is not None else tuple(documents)
        self.configs = {image.manifest.config.digest: image.config.raw for image in images}
        self.sizes = {layer.digest: layer.size for manifest in documents for layer in manifest.layers}
        self.blobs: HasBlobFiles | None = blobs
        self._sent = 0
        self.asked = False
        self.fault: PolyarchError | None = None
        self.connections: set[socket.socket] = set()
        """Those whose last request was for this."""
        self._counting = threading.Lock()

    def document(self, target: str) -> Document | None:
        """What a digest (sha256 or sha512) or a tag stands for."""
        algorithm, colon, _ = target.partition(":")
        if not colon:
            return self.root
        if algorithm not in ("sha256", "sha512"):
            return None
        return next((each for each in self.documents if target in (each.digest, digest_of(each.raw, algorithm))), None)

    def opened(self, digest: Digest) -> BinaryIO | None:
        """The file of a layer; None, and the fault kept, where it cannot be read or is not whole."""
        blobs, size = self.blobs, self.sizes.get(digest)
        if blobs is None or size is None:
            return None
        try:
            path = blobs.blob_path(digest)
            try:
                file = open_regular(path)
            except OSError as error:
                raise disk_error(error, f"cannot read {path}") from error
            if (actual := os.fstat(file.fileno()).st_size) != size:
                file.close()
                raise StorageError(f"{path} is damaged: it has {actual} bytes instead of {size}")
        except PolyarchError as error:
            self.fault = error
            return None
        return file

    @property
    def sent(self) -> int:
        """Bytes of bodies that went out."""
        with self._counting:
            return self._sent

    def counted(self, send: Callable[[], int]) -> int:
        """What `send` answers: how many bytes it sent. It must not wait.

        Nobody is told a number in between: who has read an answer to its end finds all of it counted.
        """
        with self._counting:
            count = send()
            self._sent += count
        return count

    def empty(self) -> None:
        """Nothing can be read any more."""
        self.root, self.blobs = None, None
        self.documents = ()
        self.configs, self.sizes = {}, {}
