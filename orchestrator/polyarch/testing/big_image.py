"""A big image of real files, to measure with."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import Path, PurePosixPath

from polyarch.testing.debian_busybox import SampleImageError
from polyarch.testing.layout_writer import LayoutWriter, OpenLayer, TarEntry, folder, link, regular

_SOURCE = Path("/usr")
_NOT_PACKAGED = _SOURCE / "local"
"""Whatever somebody put there (FHS 3.0, 4.9); all else below /usr came with packages."""
_PROGRAMS = ("/usr/bin", "/usr/lib64", "/usr/lib/*-linux-gnu*")
"""What programs such as `true` need: themselves, the program that loads them, and the C library."""
_LARGEST_FILE = 4 << 20


def big_image(
    directory: Path,
    layers: int = 6,
    compressed_bytes: int = 420_000_000,
    tar_bytes: int = 1_100_000_000,
    entries: int = 42_000,
) -> str:
    """Writes a layout that holds `big:1.0`, a single-platform image for this machine; the digest of its manifest.

    All layers together have at least so many bytes, compressed by gzip and not, and at least so many tar entries. They
    are the files that packages put below this machine's /usr, of up to 4 MiB each, taken by folders in an order that a
    hash decides: so each layer holds a mix, and the same one again while /usr stays the same. Where /usr has less, its
    files come again below other names. The middle layer begins with the usual programs and the C library, so that
    `sh` and `true` can run.

    Raises SampleImageError when there is nothing to read below /usr.
    """
    layout = LayoutWriter(directory)
    folders = _folders()
    programs = {Path(path) for pattern in _PROGRAMS for path in Path("/").glob(pattern[1:])}
    source = _entries([path for path in folders if path not in programs])
    middle = (layers + 1) // 2
    least = tuple(-(-whole // layers) for whole in (compressed_bytes, tar_bytes, entries))
    made = []
    for number in range(1, layers + 1):
        opened = layout.open_layer(f"COPY part-{number} / # buildkit")
        if number == 1:
            for path in sorted(Path("/").iterdir()):
                if path.is_symlink() and path.resolve().parent == _SOURCE:  # /bin, /lib and so on
                    opened.add(link(path.name, f"usr/{path.resolve().name}"))
        if number == middle:
            source = chain(_once(".", [path for path in folders if path in programs]), source)
        _fill(opened, source, least)
        made.append(opened.close())
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    image = layout.image({"os": "linux", "architecture": machine}, made)
    layout.name("big:1.0", image)
    layout.finish()
    return str(image["digest"])


def _fill(layer: OpenLayer, source: Iterator[tuple[PurePosixPath, TarEntry]], least: tuple[int, ...]) -> None:
    """Adds entries until the layer has the least compressed bytes, tar bytes and entries."""
    parents: set[PurePosixPath] = set()
    count = 0
    while any(has < wanted for has, wanted in zip((layer.compressed_size, layer.tar_size, count), least, strict=True)):
        name, entry = next(source)
        above = [parent for parent in [*reversed(name.parents), name] if parent not in parents and parent.name]
        parents.update(above)
        for each in [*(folder(str(parent)) for parent in above), entry]:
            layer.add(each)
            count += 1


def _folders() -> list[Path]:
    """All folders below /usr with files of packages, in the order of the hash."""
    paths = [Path(path) for path, _, files in os.walk(_SOURCE) if files]
    packaged = [path for path in paths if not path.is_relative_to(_NOT_PACKAGED)]
    return sorted(packaged, key=lambda path: hashlib.sha256(os.fsencode(path)).digest())


def _entries(folders: Iterable[Path]) -> Iterator[tuple[PurePosixPath, TarEntry]]:
    """All files and links in folders: (the folder's name in the image, entry); then all again below `again`, ..."""
    prefix, folders = ".", list(folders)
    while True:
        found = False
        for each in _once(prefix, folders):
            found = True
            yield each
        if not found:
            raise SampleImageError(f"there are no files to read below {_SOURCE}")
        prefix += "/again"


def _once(prefix: str, folders: Iterable[Path]) -> Iterator[tuple[PurePosixPath, TarEntry]]:
    for path in folders:
        name = PurePosixPath(prefix, path.relative_to("/"))
        for child in sorted(path.iterdir()):
            if entry := _entry(child, str(name / child.name)):
                yield name, entry


def _entry(path: Path, name: str) -> TarEntry | None:
    try:
        if path.is_symlink():
            return link(name, str(path.readlink()))
        if path.is_file() and path.stat().st_size <= _LARGEST_FILE:
            return regular(name, path.read_bytes(), path.stat().st_mode & 0o777)
    except OSError:  # not to be read, or gone by now
        return None
    return None
