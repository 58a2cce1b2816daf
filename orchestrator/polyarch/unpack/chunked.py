"""Writes layers as zstd:chunked (containers/storage, docs/containers-storage-zstd-chunked.md).

Each chunk of a file is a zstd frame of its own, and so is what stands between two files. Every frame is made of at most
`LARGEST` bytes at once, so that the same files give the same frames, whatever else is in the layer. tar-split data is
not written: it holds a checksum of each file that Python has no fast way to make.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from collections import deque
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import BinaryIO

from polyarch.limits import MAX_TOC_ENTRIES, MAX_TOC_SIZE
from polyarch.oci.chunked import SKIPPABLE_HEADER, zstd_annotations
from polyarch.oci.compression import FrameCompressor
from polyarch.oci.digest import Digest, digest_of
from polyarch.oci.written import encode
from polyarch.unpack.stream import LayerStream
from polyarch.unpack.tar import Entry, Kind, TarReader
from polyarch_platforms.lazy_dataclass import dataclass

LARGEST = 1 << 20
"""Bytes that a frame holds, at most."""
SMALLEST = 64 << 10
"""Bytes of a chunk, at least, but for a file's last one."""
CUT_FROM = 512 << 10
"""Bytes of a file that is cut into chunks."""

_TYPES = {
    Kind.FILE: "reg",
    Kind.HARD_LINK: "hardlink",
    Kind.SYMLINK: "symlink",
    Kind.CHARACTER: "char",
    Kind.BLOCK: "block",
    Kind.DIRECTORY: "dir",
    Kind.FIFO: "fifo",
}
_SKIPPABLE = struct.pack("<I", 0x184D2A50)
_FOOTER = struct.Struct("<7Q8s")
_MAGIC = b"GNUlInUx"
_LATEST = 253_402_300_799  # the end of the year 9999, beyond which RFC 3339 has no times
# Each byte is one of two letters; a chunk ends where eighteen of them are a certain word. Random bytes are so every
# 256 KiB; where it is depends on the content alone, so that chunks stay the same behind what is put in or taken out.
_LETTERS = bytes(hashlib.sha256(bytes([byte])).digest()[0] & 1 for byte in range(256))
_WORD = bytes((1, 0, 0, 1, 1, 0, 1, 0, 0, 0, 1, 1, 1, 0, 1, 0, 1, 1))
_WINDOW = 64 << 10


class NotChunked(Exception):
    """A sound layer that zstd:chunked has no words for; the text says why."""


@dataclass(frozen=True, slots=True)
class PackedChunked:
    """A layer that was written: digest and size of its blob, and the annotations that its descriptor needs."""

    digest: Digest
    size: int
    annotations: Mapping[str, str]


def pack_chunked(stream: LayerStream, out: BinaryIO) -> PackedChunked:
    """Write the layer that `stream` gives into `out`, read to its end and held against its diff ID.

    Raises IntegrityError, NotChunked, HostError without a zstd module, OSError (disk full).
    """
    return _Packing(stream, out).run()


def chunks_of_file(parts: Iterator[bytes]) -> Iterator[bytes]:
    """The content of a large file, cut where its own bytes say so."""
    held = bytearray()
    for part in parts:
        held += part
        while len(held) >= LARGEST + len(_WORD):
            yield _cut(held)
    while held:
        yield _cut(held)


def _cut(held: bytearray) -> bytes:
    """Take the first chunk out of what is held: to the first word behind SMALLEST bytes, of LARGEST bytes at most."""
    most = min(len(held), LARGEST)
    end, at = most, SMALLEST
    while at < most:
        stop = min(at + _WINDOW, most)
        found = held[at - len(_WORD) + 1 : stop].translate(_LETTERS).find(_WORD)
        if found >= 0:
            end = at + 1 + found
            break
        at = stop
    chunk = bytes(held[:end])
    del held[:end]
    return chunk


class _Tape:
    """Bytes that were read ahead, to be taken again in order."""

    def __init__(self) -> None:
        self.taken = 0
        self._chunks: deque[bytes] = deque()
        self._at = 0

    def put(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def until(self, position: int) -> bytes:
        """All that was not taken, up to a position that was read."""
        parts = []
        while self.taken < position:
            chunk = self._chunks[0]
            part = chunk[self._at : self._at + position - self.taken]
            parts.append(part)
            self.taken += len(part)
            self._at += len(part)
            if self._at == len(chunk):
                self._chunks.popleft()
                self._at = 0
        return parts[0] if len(parts) == 1 else b"".join(parts)


class _Packing:
    def __init__(self, stream: LayerStream, out: BinaryIO) -> None:
        self._stream, self._out = stream, out
        self._tape = _Tape()
        self._frames = FrameCompressor()
        self._hash = hashlib.sha256()
        self._size = 0
        self._between: list[bytes] = []
        self._between_size = 0
        self._toc: list[bytes] = []

    def run(self) -> PackedChunked:
        stream = self._stream
        stream.copy_to(self._tape.put)
        reader = TarReader(stream)
        for entry in reader:
            if entry.segments is not None:
                raise NotChunked("it has files with holes")
            self._keep(self._tape.until(stream.position))
            facts = _facts(entry)
            if entry.kind is Kind.FILE and entry.size:
                self._flush()
                self._file(facts, entry, self._content(reader))
            else:
                self._note(facts)
        self._keep(self._tape.until(stream.position))
        while not stream.at_end():
            stream.part(LARGEST)
            self._keep(self._tape.until(stream.position))
        stream.finish()
        self._flush()
        return self._end()

    def _content(self, reader: TarReader) -> Iterator[bytes]:
        for _ in reader.parts():
            yield self._tape.until(self._stream.position)

    def _file(self, facts: dict[str, object], entry: Entry, parts: Iterator[bytes]) -> None:
        whole = hashlib.sha256()
        chunks: list[dict[str, object]] = []
        place = 0
        for chunk in chunks_of_file(parts) if entry.size >= CUT_FROM else (b"".join(parts),):
            whole.update(chunk)
            chunks.append({"offset": self._size, "chunkSize": len(chunk), "chunkDigest": digest_of(chunk)})
            if place:
                chunks[-1]["chunkOffset"] = place
            self._put(self._frames.frame(chunk))
            place += len(chunk)
        facts |= {"digest": f"sha256:{whole.hexdigest()}", "offset": self._size, "endOffset": self._size}
        if len(chunks) == 1:
            facts["offset"] = chunks[0]["offset"]
        else:
            facts |= chunks[0]
        self._note(facts)
        for more in chunks[1:]:
            self._note({"type": "chunk", "name": facts["name"], **more})

    def _keep(self, data: bytes) -> None:
        """Bytes between files; they become frames of their own."""
        self._between.append(data)
        self._between_size += len(data)
        if self._between_size >= LARGEST:
            whole = b"".join(self._between)
            for start in range(0, len(whole) - LARGEST + 1, LARGEST):
                self._put(self._frames.frame(whole[start : start + LARGEST]))
            rest = whole[len(whole) - len(whole) % LARGEST :]
            self._between, self._between_size = [rest], len(rest)

    def _flush(self) -> None:
        if self._between_size:
            self._put(self._frames.frame(b"".join(self._between)))
            self._between, self._between_size = [], 0

    def _put(self, data: bytes) -> None:
        self._hash.update(data)
        self._size += len(data)
        self._out.write(data)

    def _note(self, entry: dict[str, object]) -> None:
        self._toc.append(encode(entry))
        if len(self._toc) > MAX_TOC_ENTRIES:
            raise NotChunked(f"it has more than {MAX_TOC_ENTRIES} files and chunks")

    def _end(self) -> PackedChunked:
        """The table of contents and the footer, each in a skippable frame (RFC 8878, 3.1.2)."""
        toc = b'{"version":1,"entries":[' + b",".join(self._toc) + b"]}"
        if len(toc) > MAX_TOC_SIZE // 2:
            raise NotChunked("its table of contents would be too large")
        packed = self._frames.frame(toc)
        place = self._size + SKIPPABLE_HEADER
        self._put(_SKIPPABLE + struct.pack("<I", len(packed)) + packed)
        footer = _FOOTER.pack(place, len(packed), len(toc), 1, 0, 0, 0, _MAGIC)
        self._put(_SKIPPABLE + struct.pack("<I", len(footer)) + footer)
        self._out.flush()
        annotations = zstd_annotations(digest_of(packed), place, len(packed), len(toc))
        return PackedChunked(f"sha256:{self._hash.hexdigest()}", self._size, annotations)


def _facts(entry: Entry) -> dict[str, object]:
    """What the TOC says of an entry. Raises NotChunked for what it cannot say."""
    facts: dict[str, object] = {"type": _TYPES[entry.kind], "name": _text(entry.name)}
    if entry.link:
        facts["linkName"] = _text(entry.link)
    numbers = {"mode": entry.mode, "size": entry.size, "uid": entry.uid, "gid": entry.gid}
    facts |= {name: value for name, value in numbers.items() if value}
    seconds, nanoseconds = divmod(entry.mtime, 1_000_000_000)
    if not 0 <= seconds <= _LATEST:
        raise NotChunked("it has a file from before 1970 or after 9999")
    fraction = f".{nanoseconds:09}".rstrip("0") if nanoseconds else ""
    facts["modtime"] = f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}{fraction}Z"
    facts |= {key: value for key, value in zip(("devMajor", "devMinor"), entry.device, strict=True) if value}
    if entry.xattrs:
        facts["xattrs"] = {
            _text(name.encode("utf-8", "surrogateescape")): base64.b64encode(value).decode()
            for name, value in entry.xattrs.items()
        }
    return facts


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise NotChunked("it has a name that is no UTF-8, as a table of contents needs it") from error
