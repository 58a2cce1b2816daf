"""A layer on its way into a file: hashed for its diff ID, compressed, hashed for its digest, in bounded memory."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import BinaryIO

from polyarch.oci.compression import gzip_compressor
from polyarch.oci.digest import Digest

_CHUNK = 1 << 18


@dataclass(frozen=True, slots=True)
class Packed:
    """A layer that was packed: its diff ID, and digest and size of what travels."""

    diff_id: Digest
    digest: Digest
    size: int


class LayerPacker:
    """Takes a layer's archive with `write`, and puts it into `out`, compressed by gzip.

    What is compressed at a time depends on the archive's bytes alone, so that one archive gives one digest.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._compressor = gzip_compressor()
        self._plain, self._packed = hashlib.sha256(), hashlib.sha256()
        self._waiting: list[bytes] = []
        self._length = 0  # of all that waits
        self._size = 0

    def write(self, data: bytes) -> None:
        """The next bytes of the archive. Raises OSError (disk full)."""
        self._waiting.append(data)
        self._length += len(data)
        if self._length < _CHUNK:
            return
        whole = b"".join(self._waiting)
        end = len(whole) - len(whole) % _CHUNK
        for start in range(0, end, _CHUNK):
            self._pack(whole[start : start + _CHUNK])
        self._waiting = [whole[end:]]
        self._length = len(whole) - end

    def _pack(self, chunk: bytes) -> None:
        self._plain.update(chunk)
        self._put(self._compressor.compress(chunk))

    def _put(self, data: bytes) -> None:
        self._packed.update(data)
        self._size += len(data)
        self._out.write(data)

    def finish(self) -> Packed:
        """The archive is whole."""
        self._pack(b"".join(self._waiting))
        self._waiting.clear()
        self._put(self._compressor.flush())
        self._out.flush()
        return Packed(f"sha256:{self._plain.hexdigest()}", f"sha256:{self._packed.hexdigest()}", self._size)
