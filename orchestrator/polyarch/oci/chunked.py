"""Layers that carry a table of contents (TOC), so that parts of them can be told apart: zstd:chunked and eStargz.

zstd:chunked (containers/storage, docs/containers-storage-zstd-chunked.md): each chunk of a file is a zstd frame of its
own, what stands between two files (padding, tar headers) another one; the TOC is a zstd frame in a skippable frame, and
annotations of the layer's descriptor say where it is. eStargz (containerd/stargz-snapshotter, docs/estargz.md): each
chunk begins a gzip member, in which the headers that follow lie, too; a footer of 51 bytes says where the TOC is.

The TOC says which parts of two layers are likely to be the same bytes. It says no more: what is put together by it is
held against the layer's digest as a whole.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Iterator, Mapping
from typing import Literal, NamedTuple, TypeAlias

from polyarch.errors import IntegrityError
from polyarch.limits import MAX_TOC_ENTRIES, MAX_TOC_SIZE
from polyarch.oci.compression import decompressed
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, digest_of, is_digest
from polyarch.oci.json import list_of, mapping_of, parse_json
from polyarch_platforms.lazy_dataclass import dataclass

ZSTD_PREFIXES = ("io.github.containers.zstd-chunked.", "io.containers.zstd-chunked.")
"""What the names of zstd:chunked's annotations begin with; the second is that of older programs (podman 4)."""
ZSTD_CHECKSUM = "manifest-checksum"
"""Annotation, behind the prefix: the digest of the TOC as it stands in the blob, compressed."""
ZSTD_POSITION = "manifest-position"
"""Annotation, behind the prefix: the TOC's offset, its size in the blob and uncompressed, and 1, with colons."""
STARGZ_DIGEST = "containerd.io/snapshot/stargz/toc.digest"
"""Annotation: the digest of the TOC, uncompressed."""

SKIPPABLE_HEADER = 8
"""Bytes in front of the TOC of zstd:chunked (RFC 8878, 3.1.2): a magic number and a size."""
STARGZ_FOOTER = 51
"""Bytes of eStargz's footer."""

Form: TypeAlias = Literal["zstd:chunked", "estargz"]

_POSITION = re.compile(r"([0-9]{1,18}):([0-9]{1,18}):([0-9]{1,18}):1", re.ASCII)
_FOOTER = re.compile(rb"\x1f\x8b.{8}\x1a\0SG\x16\0([0-9a-f]{16})STARGZ\x01\0\0\xff\xff\0{8}", re.DOTALL)
_STARGZ_NAME = b"stargz.index.json"
_BLOCK = 512
_KEY_SIZE = 16
# Where a file's bytes are, and what they are: all else in an entry tells of its tar header.
_PLACES = frozenset({"offset", "endOffset", "digest", "chunkDigest", "chunkSize", "chunkOffset", "chunkType"})


class Span(NamedTuple):
    """Bytes of a blob, as they travel. Spans of one `key` and `size` are likely to be the same bytes.

    `sure` says that the key has the digest of all that the span holds; else it tells of tar headers, of which a TOC
    does not say everything.
    """

    start: int
    size: int
    key: bytes
    sure: bool


@dataclass(frozen=True, slots=True)
class Annotated:
    """A layer whose descriptor says that it has a TOC: with this digest, and of zstd:chunked also where.

    `offset`, `size` and `plain` (bytes, uncompressed) are 0 for eStargz.
    """

    form: Form
    blob: Descriptor
    digest: Digest
    offset: int = 0
    size: int = 0
    plain: int = 0

    @property
    def tail(self) -> int | None:
        """The offset from which on the blob holds no files any more; None where only the footer tells."""
        return self.offset - SKIPPABLE_HEADER if self.form == "zstd:chunked" else None


class _Entry(NamedTuple):
    """An entry of a TOC, as far as it is looked at. `header` is what tells of its tar header, b"" for a chunk."""

    header: bytes
    digest: str
    size: int
    offset: int
    end: int
    chunk_size: int
    chunk_digest: str
    chunk_offset: int


def annotated(blob: Descriptor) -> Annotated | None:
    """What the layer's descriptor says of its TOC; None where it has none, or one that is not read here."""
    for prefix in ZSTD_PREFIXES:
        checksum = blob.annotations.get(prefix + ZSTD_CHECKSUM)
        if checksum is None or not is_digest(checksum):
            continue
        match = _POSITION.fullmatch(blob.annotations.get(prefix + ZSTD_POSITION, ""))
        if match is None:
            return None
        offset, size, plain = map(int, match.groups())
        within = offset >= SKIPPABLE_HEADER and size > 0 and offset + size <= blob.size
        if not within or plain > MAX_TOC_SIZE or blob.size - offset > MAX_TOC_SIZE:
            return None
        return Annotated("zstd:chunked", blob, checksum, offset, size, plain)
    digest = blob.annotations.get(STARGZ_DIGEST)
    if digest is not None and is_digest(digest) and blob.size > STARGZ_FOOTER:
        return Annotated("estargz", blob, digest)
    return None


def zstd_annotations(digest: Digest, offset: int, size: int, plain: int) -> dict[str, str]:
    """What the descriptor of a zstd:chunked layer says of its TOC, in the words of new and of old programs."""
    values = {ZSTD_CHECKSUM: digest, ZSTD_POSITION: f"{offset}:{size}:{plain}:1"}
    return {prefix + name: value for prefix in ZSTD_PREFIXES for name, value in values.items()}


def stargz_tail(footer: bytes, size: int) -> int:
    """Where the TOC of an eStargz blob of `size` bytes begins, by its last 51 bytes. Raises IntegrityError."""
    match = _FOOTER.fullmatch(footer)
    if match is None:
        raise IntegrityError("its end is no footer of eStargz")
    offset = int(match[1], 16)
    if not size - STARGZ_FOOTER > offset >= size - MAX_TOC_SIZE:
        raise IntegrityError("its footer places the table of contents where it cannot be")
    return offset


def read_spans(layer: Annotated, tail: bytes, start: int) -> tuple[Span, ...]:
    """The spans of the blob's first `start` bytes, without a gap; `tail` are the bytes from there to its end.

    Raises IntegrityError where the TOC is not the one that the descriptor names, is too large, or cannot be one.
    """
    toc = _zstd_toc(layer, tail) if layer.form == "zstd:chunked" else _stargz_toc(layer, tail)
    document = parse_json(toc, "its table of contents", _entry)
    del toc
    if document.get("version") != 1:
        raise IntegrityError("its table of contents is of an unknown version")
    entries = list_of(document.get("entries"), "its table of contents")
    if len(entries) > MAX_TOC_ENTRIES:
        raise IntegrityError(f"its table of contents has more than {MAX_TOC_ENTRIES} entries")
    return tuple(_spans(layer, entries, start))


def _zstd_toc(layer: Annotated, tail: bytes) -> bytes:
    packed = tail[SKIPPABLE_HEADER : SKIPPABLE_HEADER + layer.size]
    if digest_of(packed, layer.digest.partition(":")[0]) != layer.digest:
        raise IntegrityError("its table of contents is not the one that the manifest names")
    return _plain(packed, layer.plain)


def _stargz_toc(layer: Annotated, tail: bytes) -> bytes:
    archive = _plain(tail[:-STARGZ_FOOTER], MAX_TOC_SIZE)
    header = archive[:_BLOCK]
    digits = header[124:135].strip(b" \0")
    if header[:100].rstrip(b"\0") != _STARGZ_NAME or not re.fullmatch(rb"[0-7]{1,11}", digits):
        raise IntegrityError("what its footer points at is no table of contents")
    toc = archive[_BLOCK : _BLOCK + int(digits, 8)]
    if digest_of(toc, layer.digest.partition(":")[0]) != layer.digest:
        raise IntegrityError("its table of contents is not the one that the manifest names")
    return toc


def _plain(packed: bytes, limit: int) -> bytes:
    plain = bytearray()
    for part in decompressed(io.BytesIO(packed), "its table of contents"):
        plain += part
        if len(plain) > limit:
            raise IntegrityError("its table of contents is larger than it may be")
    return bytes(plain)


def _entry(entry: dict[str, object]) -> object:
    """An entry of a TOC as it is read, so that not all of it is kept; any other JSON object as it is."""
    kind = entry.get("type")
    if "name" not in entry or not isinstance(kind, str):
        return entry
    header = b""
    if kind != "chunk":
        told = sorted((key, value) for key, value in entry.items() if key not in _PLACES)
        header = hashlib.blake2b(repr(told).encode("utf-8", "backslashreplace"), digest_size=_KEY_SIZE).digest()
    return _Entry(
        header,
        _text(entry, "digest"),
        _number(entry, "size"),
        _number(entry, "offset"),
        _number(entry, "endOffset"),
        _number(entry, "chunkSize"),
        _text(entry, "chunkDigest"),
        _number(entry, "chunkOffset"),
    )


def _number(entry: Mapping[str, object], key: str) -> int:
    value = entry.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < 1 << 62:
        raise IntegrityError(f"its table of contents has {key} {str(value)[:40]!r}")
    return value


def _text(entry: Mapping[str, object], key: str) -> str:
    value = entry.get(key, "")
    if not isinstance(value, str):
        raise IntegrityError(f"its table of contents has {key} {str(value)[:40]!r}")
    return value


class _Chunk(NamedTuple):
    """Where a chunk begins and, for zstd:chunked, where its file ends; what it holds; what comes behind it."""

    offset: int
    end: int
    content: str
    headers: bytes


def _spans(layer: Annotated, entries: list[object], end: int) -> Iterator[Span]:
    """From the first byte to `end`. Raises IntegrityError for chunks that overlap, go back, or lie beyond it."""
    first, chunks = _chunks(entries, layer.digest)
    if not chunks:
        if end:
            yield _span(0, end, b"end", layer.digest.encode(), sure=False)
        return
    if chunks[0].offset > end:
        raise IntegrityError("its table of contents leads beyond its files")
    yield _span(0, chunks[0].offset, b"lead", first, sure=False)
    for chunk, following in zip(chunks, [*(each.offset for each in chunks[1:]), end], strict=True):
        stop = chunk.end if layer.form == "zstd:chunked" and chunk.end else following
        if not chunk.offset < stop <= following <= end:
            raise IntegrityError("its table of contents has files that overlap")
        if layer.form == "estargz":
            content = chunk.content.encode() + b"\0" + chunk.headers
            yield _span(chunk.offset, stop - chunk.offset, b"member", content, sure=False)
            continue
        yield _span(chunk.offset, stop - chunk.offset, b"chunk", chunk.content.encode(), sure=True)
        if stop == end:
            return
        if following == end:  # the archive's end: how many zeros are there depends on all of it
            yield _span(stop, end - stop, b"end", layer.digest.encode(), sure=False)
        elif stop < following:
            yield _span(stop, following - stop, b"headers", chunk.headers, sure=False)


def _span(start: int, size: int, kind: bytes, content: bytes, *, sure: bool) -> Span:
    key = hashlib.blake2b(b"%b %d %b" % (kind, size, content), digest_size=_KEY_SIZE).digest()
    return Span(start, size, key, sure)


def _chunks(entries: list[object], toc: Digest) -> tuple[bytes, list[_Chunk]]:
    """What the headers in front of the first chunk are known by, and the chunks in the order of the archive."""
    chunks: list[_Chunk] = []
    headers, first = hashlib.blake2b(digest_size=_KEY_SIZE), b""
    file: _Entry | None = None
    pending: tuple[int, int, str] | None = None
    for position, entry in enumerate(entries):
        if not isinstance(entry, _Entry):
            mapping_of(entry, "its table of contents")
            raise IntegrityError("its table of contents has an entry without a name and a type")
        if entry.header:
            file = entry
            headers.update(entry.header)
        elif file is None:
            raise IntegrityError("its table of contents has a chunk without a file")
        if not entry.offset:
            continue
        if pending is None:
            first = headers.digest()
        else:
            chunks.append(_Chunk(*pending, headers.digest()))
        following = entries[position + 1] if position + 1 < len(entries) else None
        more = isinstance(following, _Entry) and not following.header and bool(following.offset)
        if not entry.header and not file.offset:
            raise IntegrityError("its table of contents has a chunk of an empty file")
        size = entry.chunk_size or file.size - entry.chunk_offset
        content = entry.chunk_digest or ("" if more or not entry.header else entry.digest)
        if not is_digest(content) or size <= 0:
            content, size = f"{toc} {position}", 0  # nothing can be known to be the same
        pending = (entry.offset, 0 if more else file.end, f"{content} {size}")
        headers = hashlib.blake2b(b"%d" % (0 if more else -file.size % _BLOCK), digest_size=_KEY_SIZE)
    if pending is None:
        first = headers.digest()
    else:
        chunks.append(_Chunk(*pending, headers.digest()))
    return first, chunks
