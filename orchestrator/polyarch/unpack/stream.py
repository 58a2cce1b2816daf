"""The uncompressed bytes of one layer: counted against limits, hashed for the diff ID, read forward only."""

from __future__ import annotations

from collections.abc import Callable
from typing import BinaryIO, cast

from polyarch.errors import IntegrityError
from polyarch.files import disk_error
from polyarch.oci.compression import decompressed
from polyarch.oci.digest import Digest, hasher
from polyarch.unpack.limits import RATIO_FROM, USUAL, LayerLimits


class LayerStream:
    """Reads a layer's uncompressed bytes. `where` begins every error's message, `limits` are those of no other stream
    at the time.

    `read`, `part` and `skip` raise IntegrityError where the stream is damaged, cut short or larger than the limits.
    """

    def __init__(
        self, source: BinaryIO, where: str, diff_id: Digest | None = None, limits: LayerLimits | None = None
    ) -> None:
        self.where = where
        self.limits = limits or USUAL.of_layer()
        self.limits.begin()
        self._source = _Counted(source, where)
        self._chunks = decompressed(cast("BinaryIO", self._source), where)
        self.diff_id = diff_id
        self._hash = hasher(diff_id) if diff_id else None
        self._chunk = b""
        self._at = 0
        self._total = 0
        self._copy: Callable[[bytes], object] | None = None

    def copy_to(self, write: Callable[[bytes], object]) -> None:
        """Give every uncompressed byte from here on to `write` too: the same bytes as are hashed."""
        self._copy = write

    @property
    def position(self) -> int:
        """How many uncompressed bytes were read so far."""
        return self._total - len(self._chunk) + self._at

    def _next(self) -> bool:
        chunk = next(self._chunks, None)
        if chunk is None:
            return False
        self._total += len(chunk)
        if self._total > self.limits.size:
            raise IntegrityError(
                f"{self.where}: more than {self.limits.size} bytes uncompressed, which is the limit",
                'where the image is to be trusted, set a higher "max_layer_size" in the settings file',
            )
        if self._total > RATIO_FROM and self._total > self.limits.ratio * self._source.count:
            raise IntegrityError(
                f"{self.where}: grows more than {self.limits.ratio}-fold when it is decompressed",
                'where the image is to be trusted, set a higher "max_layer_ratio" in the settings file',
            )
        if self._hash is not None:
            self._hash.update(chunk)
        if self._copy is not None:
            self._copy(chunk)
        self._chunk, self._at = chunk, 0
        return True

    def at_end(self) -> bool:
        """True if no byte is left."""
        while self._at >= len(self._chunk):
            if not self._next():
                return True
        return False

    def read(self, size: int) -> bytes:
        """Exactly `size` bytes; for what fits into memory."""
        end = self._at + size
        if end <= len(self._chunk):
            data = self._chunk[self._at : end]
            self._at = end
            return data
        parts = []
        while size:
            part = self.part(size)
            parts.append(bytes(part))
            size -= len(part)
        return b"".join(parts)

    def next_block(self, skip: int, size: int) -> bytes:
        """Pass over `skip` bytes, then exactly `size` bytes as `read` gives them; b"" if none is left."""
        start = self._at + skip
        end = start + size
        if end <= len(self._chunk):
            self._at = end
            return self._chunk[start:end]
        self.skip(skip)
        return b"" if self.at_end() else self.read(size)

    def part(self, size: int) -> memoryview:
        """The next bytes: at least one, at most `size`, as many as lie ready."""
        if self.at_end():
            raise IntegrityError(f"{self.where}: cut short after {self._total} bytes uncompressed")
        part = memoryview(self._chunk)[self._at : self._at + size]
        self._at += len(part)
        return part

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        end = self._at + size
        if end <= len(self._chunk):
            self._at = end
            return
        while size:
            size -= len(self.part(size))

    def finish(self) -> None:
        """Read to the end and hold what came against the diff ID; IntegrityError if it is another."""
        while self._next():
            pass
        self._chunk, self._at = b"", 0
        if self._hash is not None and self.diff_id is not None:
            actual = f"{self.diff_id.partition(':')[0]}:{self._hash.hexdigest()}"
            if actual != self.diff_id:
                raise IntegrityError(f"{self.where}: diff ID {self.diff_id} was promised, {actual} came")

    def close(self) -> None:
        """Give back what decompresses (a process, where it is the zstd program)."""
        self._chunks.close()


class _Counted:
    """A stream's `read`, with the bytes that went through counted, and the disk's faults told."""

    def __init__(self, source: BinaryIO, where: str) -> None:
        self._source = source
        self._where = where
        self.count = 0

    def read(self, size: int) -> bytes:
        try:
            data = self._source.read(size)
        except OSError as error:
            raise disk_error(error, f"{self._where}: cannot be read") from error
        self.count += len(data)
        return data
