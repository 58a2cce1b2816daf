"""How layers are compressed, told by their first bytes, and undone by the fastest that is installed.

gzip: isal or zlib-ng, else zlib. zstd: Python 3.14's own, else backports.zstd, else the `zstd` program. An archive as a
whole may be bzip2's or xz's, too, as docker load takes it (moby, go-archive, compression); layers have media types for
gzip and zstd alone (image-spec 1.1.1, layer.md).
Memory is bounded: at most `CHUNK` bytes come out at a time, whatever goes in.
"""

from __future__ import annotations

import bz2
import contextlib
import importlib
import lzma
import shutil
import subprocess
import threading
import zlib
from collections.abc import Callable, Generator, Iterator
from functools import partial
from types import ModuleType
from typing import Any, BinaryIO, Protocol

from polyarch.errors import HostError, IntegrityError, StorageError

CHUNK = 1 << 18
"""Bytes that are decompressed at a time, at most."""

_READ = 1 << 18

_GZIP = b"\x1f\x8b"  # RFC 1952, 2.3.1
_ZSTD = b"\x28\xb5\x2f\xfd"  # RFC 8878, 3.1.1
_BZIP2 = b"BZh"
_XZ = b"\xfd7zXZ\x00"
_REFUSED = {_BZIP2: "bzip2", _XZ: "xz", b"\x1f\x9d": "compress"}
_XZ_MEMORY = 128 << 20  # `xz -9` asks for 65 MiB (xz(1)), a hostile header for up to 4 GiB


def decompressed(source: BinaryIO, where: str = "layer") -> Generator[bytes, None, None]:
    """The uncompressed bytes of a layer, in chunks; `source` stands at its first byte and is read to its end.

    gzip (of any number of members), zstd (of any number of frames) or nothing, whatever a media type says.
    Raises IntegrityError: damaged, cut short, or another compression; HostError: zstd, and nothing here undoes it.
    """
    return _decompressed(source, _filled(source, 8), where)


def decompressed_archive(source: BinaryIO, where: str) -> Generator[bytes, None, None]:
    """As `decompressed`, for a whole archive, which may be compressed by bzip2 or xz, too."""
    head = _filled(source, 8)
    if head.startswith(_BZIP2):
        return _by_module(bz2.BZ2Decompressor, OSError, "bzip2", source, head, where)
    if head.startswith(_XZ):
        xz = partial(lzma.LZMADecompressor, lzma.FORMAT_XZ, memlimit=_XZ_MEMORY)
        return _by_module(xz, lzma.LZMAError, "xz", source, head, where)
    return _decompressed(source, head, where)


def _decompressed(source: BinaryIO, head: bytes, where: str) -> Generator[bytes, None, None]:
    if head.startswith(_GZIP):
        return _gzip(source, head, where)
    if head.startswith(_ZSTD) or _is_skippable_zstd(head):
        return _zstd(source, head, where)
    for magic, name in _REFUSED.items():
        if head.startswith(magic):
            raise IntegrityError(f"{where}: compressed by {name}, where gzip and zstd alone are read")
    return _plain(source, head)


def is_compressed(head: bytes) -> bool:
    """True if bytes that begin so, at least 8 of them, are compressed, in whatever way is known here by name."""
    return head.startswith((_GZIP, _ZSTD, *_REFUSED)) or _is_skippable_zstd(head)


def _is_skippable_zstd(head: bytes) -> bool:
    """True for a skippable frame (RFC 8878, 3.1.2): magic number 0x184D2A50 to 0x184D2A5F."""
    return len(head) >= 4 and head[1:4] == b"\x2a\x4d\x18" and head[0] & 0xF0 == 0x50


def _filled(source: BinaryIO, size: int) -> bytes:
    data = b""
    while len(data) < size and (more := source.read(size - len(data))):
        data += more
    return data


def _plain(source: BinaryIO, head: bytes) -> Generator[bytes, None, None]:
    data = head
    while data:
        yield data
        data = source.read(CHUNK)


def _module(*names: str) -> ModuleType | None:
    for name in names:
        with contextlib.suppress(ImportError):
            return importlib.import_module(name)
    return None


def _gzip(source: BinaryIO, head: bytes, where: str) -> Generator[bytes, None, None]:
    fast: Any = _module("isal.isal_zlib", "zlib_ng.zlib_ng") or zlib
    data = head
    try:
        while data:
            member = fast.decompressobj(wbits=31)  # 16 + 15: a gzip header and trailer, checked
            while not member.eof:
                data = data or source.read(_READ)
                out = member.decompress(data, CHUNK)
                if out:
                    yield out
                elif not data:
                    raise IntegrityError(f"{where}: the gzip stream is cut short")
                data = member.unconsumed_tail
            data = (member.unused_data or source.read(_READ)).lstrip(b"\0")
            while not data and (more := source.read(_READ)):  # zeros that pad the end are no member
                data = more.lstrip(b"\0")
    except (zlib.error, fast.error) as error:
        raise IntegrityError(f"{where}: not a sound gzip stream ({error})") from error


class Compressor(Protocol):
    """What compresses a stream."""

    def compress(self, data: bytes, /) -> bytes:
        """What there is to send after these bytes; perhaps nothing yet."""

    def flush(self) -> bytes:
        """What there is to send at the end."""


def gzip_compressor() -> Compressor:
    """Compresses into one gzip member, whose header has no time and no name. isal, zlib-ng and zlib give other bytes
    each for the same content.
    """
    fast: Any = _module("isal.isal_zlib", "zlib_ng.zlib_ng") or zlib
    compressor: Compressor = fast.compressobj(wbits=31)
    return compressor


class FrameCompressor:
    """Compresses bytes into zstd frames, one after the other; the same bytes give the same frame."""

    def __init__(self) -> None:
        """Raises HostError where there is no zstd module: the `zstd` program takes too long for many frames."""
        module: Any = _module("compression.zstd", "backports.zstd")
        if module is None:
            raise HostError("nothing here compresses by zstd", "pip install backports.zstd (Python 3.14 has its own)")
        self._compressor = module.ZstdCompressor()
        self._mode = module.ZstdCompressor.FLUSH_FRAME

    def frame(self, data: bytes) -> bytes:
        """The frame of these bytes."""
        compressed: bytes = self._compressor.compress(data, self._mode)
        return compressed


def zstd_compressor() -> Compressor:
    """Compresses into one zstd frame. Raises HostError as `FrameCompressor`."""
    FrameCompressor()
    module: Any = _module("compression.zstd", "backports.zstd")
    compressor: Compressor = module.ZstdCompressor()
    return compressor


def _zstd(source: BinaryIO, head: bytes, where: str) -> Generator[bytes, None, None]:
    module: Any = _module("compression.zstd", "backports.zstd")
    if module is None:
        return _zstd_by_program(source, head, where)
    return _by_module(module.ZstdDecompressor, module.ZstdError, "zstd", source, head, where)


def _by_module(
    make: Callable[[], Any], fault: type[Exception], name: str, source: BinaryIO, head: bytes, where: str
) -> Generator[bytes, None, None]:
    """Frame by frame, each by a new decompressor of Python's interface."""
    data = head
    while data:
        frame = make()
        while not frame.eof:
            if frame.needs_input:
                data = data or source.read(_READ)
                if not data:
                    raise IntegrityError(f"{where}: the {name} stream is cut short")
            try:
                out = frame.decompress(data, CHUNK)
            except fault as error:
                raise IntegrityError(f"{where}: not a sound {name} stream ({error})") from error
            data = b""
            if out:
                yield out
        data = frame.unused_data or source.read(_READ)


def _zstd_by_program(source: BinaryIO, head: bytes, where: str) -> Generator[bytes, None, None]:
    program = shutil.which("zstd")
    if program is None:
        raise HostError(
            f"{where}: compressed by zstd, and nothing on this machine undoes it",
            "apt install zstd, or pip install backports.zstd",
        )
    with _fed([program, "-dcq", "-"], source, head) as process:
        assert process.stdout is not None
        while data := process.stdout.read(CHUNK):
            yield data
        if process.wait() != 0:
            raise IntegrityError(f"{where}: not a sound zstd stream, or cut short")


@contextlib.contextmanager
def _fed(argv: list[str], source: BinaryIO, head: bytes) -> Iterator[subprocess.Popen[bytes]]:
    """A process whose input a thread fills from `source`; killed if it still runs at the end."""
    process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    feeder = threading.Thread(target=_feed, args=(process, source, head), daemon=True)
    feeder.start()
    try:
        yield process
    finally:
        process.kill()
        feeder.join()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _feed(process: subprocess.Popen[bytes], source: BinaryIO, head: bytes) -> None:
    assert process.stdin is not None
    # A process that went away tells by its status, and so does one whose input ended too early.
    with contextlib.suppress(OSError, StorageError), process.stdin as pipe:
        data = head
        while data:
            pipe.write(data)
            data = source.read(_READ)
