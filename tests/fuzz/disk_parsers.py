"""The readers that read files, and those of archives and layers; each file lies in memory."""

from __future__ import annotations

import atexit
import contextlib
import dataclasses
import io
import itertools
import os
import shutil
import stat
import tempfile
import typing
import zlib
from functools import cache
from pathlib import Path

from polyarch.container import logs
from polyarch.container.later_start import START, read_later_start
from polyarch.container.record import RECORD, Record, read_record
from polyarch.errors import IntegrityError, UsageError
from polyarch.lock.locked import Lock
from polyarch.lock.pinned import pinned_copy
from polyarch.lock.sources import platforms_named_in, read_source
from polyarch.oci.chunked import STARGZ_DIGEST, STARGZ_FOOTER, annotated, read_spans, stargz_tail, zstd_annotations
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of
from polyarch.settings import Settings, load_settings
from polyarch.unpack.erofs import format as form
from polyarch.unpack.erofs.content import Chunks, Stored
from polyarch.unpack.erofs.reader import Inode, Lower
from polyarch.unpack.limits import Limits
from polyarch.unpack.listing import read_listing
from polyarch.unpack.merged import read_merged
from polyarch.unpack.stream import LayerStream
from polyarch.unpack.tar import BLOCK, TarReader, checksum
from polyarch_platforms.emulator_record import Store
from polyarch_plugins.verifiers.containers_policy.lookaside import read_places

_LIMITS = Limits(size=1 << 22, entries=1000, ratio=100)


@cache
def _scratch() -> Path:
    memory = Path("/dev/shm")
    folder = Path(tempfile.mkdtemp(prefix="polyarch-fuzz-", dir=memory if os.access(memory, os.W_OK) else None))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def _file(name: str, data: bytes) -> Path:
    path = _scratch() / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def auth_settings(data: bytes) -> Settings:
    """Settings that name an auth file of this content."""
    return Settings(root=_scratch(), auth_file=_file("auth.json", data))


def settings(data: bytes) -> None:
    """A settings file."""
    load_settings(config_file=_file("config.toml", data), environ={"HOME": "/root"})


def sources(data: bytes) -> None:
    """A Dockerfile, Compose file or Kubernetes manifest; what is pinned in none of its places is the file itself."""
    path = _file("source", data)
    with contextlib.suppress(UsageError):
        platforms_named_in(path, {})
    source = read_source(path, {"TAG": "1.0"})
    for image in source.images:
        assert 0 <= image.start <= image.end <= len(source.text)
    pinned_copy(dataclasses.replace(source, images=()), Lock(), "polyarch.lock")
    pinned_copy(source, Lock(), "polyarch.lock")


def registries_d(data: bytes) -> None:
    """One file of registries.d."""
    read_places(Path("/nowhere"), _file("registries.d/one.yaml", data).parent)


def tar(data: bytes) -> None:
    """A layer, as it is; then with the right checksums, without which nothing behind a header is looked at."""
    with contextlib.suppress(IntegrityError):
        _walk(data)
    _walk(_summed(data))


def _summed(data: bytes) -> bytes:
    blocks = bytearray(data)
    for start in range(0, len(blocks) - BLOCK + 1, BLOCK):
        if blocks[start + 257 : start + 262] == b"ustar":
            block = bytes(blocks[start : start + BLOCK])
            blocks[start + 148 : start + 156] = b"%06o\0 " % checksum(block)
    return bytes(blocks)


def _stream(data: bytes) -> LayerStream:
    return LayerStream(io.BytesIO(data), "layer", None, _LIMITS.of_layer())


def _walk(data: bytes) -> None:
    """Three ways to read an archive, which have to agree on the content of its files."""
    reader = TarReader(_stream(data))
    sums = [(entry.size, sum(map(len, reader.parts()))) for entry in reader]
    assert all(size == found for size, found in sums if found)
    reader = TarReader(_stream(data))
    for entry in reader:
        at = 0
        for place, piece in reader.pieces():
            assert at <= place <= place + len(piece) <= entry.size
            at = place + len(piece)
    reader = TarReader(_stream(data))
    assert [outline.size for outline in reader.outlines()] == [size for size, _ in sums]


def chunked(data: bytes) -> None:
    """The first byte says what the rest is: the TOC of either form, one still packed, or the last bytes of a blob."""
    kind, rest = data[:1], data[1:]
    if kind == b"z":
        _spans("z", zlib.compress(rest, 0, 31))
    elif kind == b"s":
        header = b"stargz.index.json".ljust(124, b"\0") + b"%011o\0" % len(rest)
        _spans("s", zlib.compress(header.ljust(BLOCK, b"\0") + rest, 0, 31), rest)
    elif kind == b"Z":
        _spans("z", rest)
    elif kind == b"S":
        _spans("s", rest)
    else:
        stargz_tail(rest, 1 << 20)


def _spans(kind: str, packed: bytes, toc: bytes = b"") -> None:
    start = 1 << 16
    if kind == "z":
        said = zstd_annotations(digest_of(packed), start + 8, len(packed), 1 << 20)
        tail = bytes(8) + packed
    else:
        said = {STARGZ_DIGEST: digest_of(toc)}
        tail = packed + bytes(STARGZ_FOOTER)
    layer = annotated(Descriptor("application/octet-stream", digest_of(b""), start + len(tail), annotations=said))
    if layer is None:
        return
    at = 0
    for span in read_spans(layer, tail, start):
        assert span.start == at
        assert span.size > 0
        at += span.size
    assert at == start


def erofs(data: bytes) -> None:
    """The metadata beside an archive of 16 KiB: all that can be reached from its root."""
    _file(f"layer/{form.ARCHIVE_NAME}", bytes(1 << 14))
    lower = Lower(_file(f"layer/{form.METADATA_NAME}", data).parent)
    try:
        _look(lower, lower.root, 0, itertools.count())
    finally:
        lower.close()


def _look(lower: Lower, inode: Inode, depth: int, looked: typing.Iterator[int]) -> None:
    if not stat.S_ISDIR(inode.mode):
        found = lower.data(inode)
        parts = found.places if isinstance(found, Chunks) else (found,)
        for part in parts:
            if isinstance(part, Stored):
                part.read(0, min(part.size, 1 << 16))
        return
    for name, below in lower.names(inode):
        if depth > 8 or next(looked) > 200:
            return
        lower.find(inode, name)
        _look(lower, below, depth + 1, looked)


def listing(data: bytes) -> None:
    """What is kept of a layer's names, and of all layers'."""
    with contextlib.suppress(ValueError):
        read_merged(data)
    read_listing(data)


def container(data: bytes) -> None:
    """The files of a container: its record, its log, what it is started again with."""
    for line in data.split(b"\n"):
        logs.parse_line(line)
    folder = _file(RECORD, data).parent
    record = read_record(folder)
    if record is not None:
        _check_types(record)
    later = read_later_start(_file(START, data).parent, "it")
    later.encoded()


def _check_types(record: Record) -> None:
    """Each field has a value of its kind."""
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        match str(field.type):
            case "str" | "Status" | "Form":
                assert isinstance(value, str), field.name
            case "int" | "int | None":
                assert value is None or isinstance(value, int), field.name
            case "bool":
                assert isinstance(value, bool), field.name
            case "tuple[str, ...]":
                assert all(isinstance(each, str) for each in value), field.name


def emulators(data: bytes) -> None:
    """The record of installed emulators."""
    folder = _file("emulators/installed.json", data).parent
    with Store(folder).locked() as state:
        for record in state.records.values():
            assert record.entry
            assert record.file_content
