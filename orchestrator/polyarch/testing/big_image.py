"""A big image of real files, to measure with."""

from __future__ import annotations

import hashlib
import os
import platform
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from polyarch.testing.debian_busybox import SampleImageError
from polyarch.testing.layout_writer import LayoutWriter, OpenLayer, TarEntry, folder, link, regular

_SOURCE = Path("/usr")
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
    are this machine's files below /usr, of up to 4 MiB each, taken by folders in an order that a hash decides: so each
    layer holds a mix, and the same one again while /usr stays the same. Where /usr has less, its files come again below
    other names.

    Raises SampleImageError when there is nothing to read below /usr.
    """
    layout = LayoutWriter(directory)
    source = _entries()
    least = tuple(-(-whole // layers) for whole in (compressed_bytes, tar_bytes, entries))
    made = []
    for number in range(1, layers + 1):
        opened = layout.open_layer(f"COPY part-{number} / # buildkit")
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


def _entries() -> Iterator[tuple[PurePosixPath, TarEntry]]:
    """All files and links below /usr: (the folder's name in the image, entry); then all again below `again`, ..."""
    paths = [Path(path) for path, _, files in os.walk(_SOURCE) if files]
    paths.sort(key=lambda path: hashlib.sha256(os.fsencode(path)).digest())
    prefix = "."
    while True:
        found = False
        for path in paths:
            name = PurePosixPath(prefix, path.relative_to("/"))
            for child in sorted(path.iterdir()):
                if entry := _entry(child, str(name / child.name)):
                    found = True
                    yield name, entry
        if not found:
            raise SampleImageError(f"there are no files to read below {_SOURCE}")
        prefix += "/again"


def _entry(path: Path, name: str) -> TarEntry | None:
    try:
        if path.is_symlink():
            return link(name, str(path.readlink()))
        if path.is_file() and path.stat().st_size <= _LARGEST_FILE:
            return regular(name, path.read_bytes(), path.stat().st_mode & 0o777)
    except OSError:  # not to be read, or gone by now
        return None
    return None
