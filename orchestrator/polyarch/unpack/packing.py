"""A layer on its way into a file: hashed for its diff ID, compressed, hashed for its digest, in bounded memory."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import BinaryIO

from polyarch.oci.compression import gzip_compressor
from polyarch.oci.digest import Digest
from polyarch_platforms.lazy_dataclass import dataclass

_CHUNK = 1 << 18
_AHEAD = 4  # chunks that wait for the compressor, at most


@dataclass(frozen=True, slots=True)
class Packed:
    """A layer that was packed: its diff ID, and digest and size of what travels."""

    diff_id: Digest
    digest: Digest
    size: int


class LayerPacker:
    """Takes a layer's archive with `write`, and puts it into `out`, compressed by gzip, in a thread: hashing and
    compressing let others run meanwhile.

    What is compressed at a time depends on the archive's bytes alone, so that one archive gives one digest. `close`
    ends the thread, whether the archive is whole or not.
    """

    def __init__(self, out: BinaryIO) -> None:
        self._out = out
        self._compressor = gzip_compressor()
        self._plain, self._packed = hashlib.sha256(), hashlib.sha256()
        self._waiting: list[bytes] = []
        self._length = 0  # of all that waits
        self._size = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="pack")
        self._begun: deque[Future[None]] = deque()

    def write(self, data: bytes) -> None:
        """The next bytes of the archive. Raises OSError (disk full), perhaps of earlier ones."""
        self._waiting.append(data)
        self._length += len(data)
        if self._length < _CHUNK:
            return
        whole = b"".join(self._waiting)
        end = len(whole) - len(whole) % _CHUNK
        for start in range(0, end, _CHUNK):
            self._send(whole[start : start + _CHUNK])
        self._waiting = [whole[end:]]
        self._length = len(whole) - end

    def _send(self, chunk: bytes) -> None:
        while len(self._begun) >= _AHEAD:
            self._begun.popleft().result()
        self._begun.append(self._pool.submit(self._pack, chunk))

    def _pack(self, chunk: bytes) -> None:
        self._plain.update(chunk)
        self._put(self._compressor.compress(chunk))

    def _put(self, data: bytes) -> None:
        self._packed.update(data)
        self._size += len(data)
        self._out.write(data)

    def finish(self) -> Packed:
        """The archive is whole. Raises OSError."""
        self._send(b"".join(self._waiting))
        self._waiting.clear()
        while self._begun:
            self._begun.popleft().result()
        self._put(self._compressor.flush())
        self._out.flush()
        return Packed(f"sha256:{self._plain.hexdigest()}", f"sha256:{self._packed.hexdigest()}", self._size)

    def close(self) -> None:
        """Begin nothing more, and wait for what is under way."""
        self._pool.shutdown(cancel_futures=True)
