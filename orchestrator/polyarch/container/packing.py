"""What a container changed, as a layer: image-spec 1.1.1, layer.md.

Whiteouts stand for what was deleted, also where overlayfs has an opaque directory: the spec asks writers for explicit
ones. Hard links are kept among the files of the layer. A file with several names in the layers below loses these when
it is changed (overlayfs copies up the one name that was used), in the container as in the layer.
"""

from __future__ import annotations

import contextlib
import gc
import os
import stat
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from polyarch.container.changes import Kind, kinds, mount_targets
from polyarch.container.layers import MOUNTS, Layers, look
from polyarch.container.rights import Rights
from polyarch.files import disk_error
from polyarch.unpack.attributes import attributes_of
from polyarch.unpack.beneath import Directory, Root, components
from polyarch.unpack.packing import LayerPacker, Packed
from polyarch.unpack.stack import WHITEOUT
from polyarch.unpack.tar import Entry
from polyarch.unpack.tar import Kind as TarKind
from polyarch.unpack.tar_writer import TarWriter, kind_of
from polyarch.unpack.tree import IMPLIED_MODE
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(frozen=True, slots=True)
class PackedChanges:
    """A container's changes: None where there are none.

    `sockets` and `forbidden` are paths that no layer can hold: sockets, and names that would be whiteouts.
    """

    packed: Packed | None
    sockets: tuple[str, ...] = ()
    forbidden: tuple[str, ...] = ()


def pack_changes(
    directory: Path, layers: Layers, rights: Rights, out: BinaryIO, latest: int | None = None
) -> PackedChanges:
    """Write the changes of the container in `directory` into `out`, a file, as a compressed layer.

    `layers` are its snapshots. No time in it is later than `latest` (ns). Owners are those that the
    container sees. Raises StorageError.
    """

    def pack(lowers: Sequence[Path]) -> PackedChanges:
        targets = mount_targets(directory / "config.json")
        upper = directory / "upper"
        with _no_search_for_cycles(), contextlib.closing(LayerPacker(out)) as packer:
            return _Pack(upper, lowers, packer, latest).run(kinds(upper, lowers, rights.flavour, targets))

    try:
        return look(layers, rights, directory / MOUNTS, pack)
    except OSError as error:
        raise disk_error(error, f"cannot pack what the container {directory.name[:12]} has written") from error


@contextlib.contextmanager
def _no_search_for_cycles() -> Iterator[None]:
    """Many small objects are made, and none is part of a cycle: looking for these takes a sixth of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Pack:
    def __init__(self, upper: Path, lowers: Sequence[Path], packer: LayerPacker, latest: int | None) -> None:
        self._root = Root(upper)
        self._here = self._root.top  # where the last entry was
        self._lowers = lowers
        self._packer = packer
        self._writer = TarWriter(self._packer.write, latest)
        self._names: dict[tuple[int, int], bytes] = {}  # of files with several: the first that was written
        self._sockets: list[str] = []
        self._forbidden: list[str] = []

    def run(self, found: Mapping[bytes, Kind]) -> PackedChanges:
        """All of it, sorted by path: a directory stands before what is in it."""
        top = self._root.top
        status = os.fstat(top.fd)
        touched = any(self._touches_root(change) for change in found.items())
        with_root = _root_differs(top, status, self._lowers, touched=touched)
        if not found and not with_root:
            return PackedChanges(None)
        if with_root:
            self._writer.add_from(top, b".", b".", TarKind.DIRECTORY, status)
        for path in sorted(found):
            if path.startswith(WHITEOUT) or b"/" + WHITEOUT in path:
                self._forbidden.append(os.fsdecode(path))
            elif found[path] == "D":
                self._hide(path)
            else:
                self._add(path, found[path])
        self._writer.finish()
        return PackedChanges(self._packer.finish(), tuple(self._sockets), tuple(self._forbidden))

    def _touches_root(self, change: tuple[bytes, Kind]) -> bool:
        """Whether a change gave the root directory another time."""
        path, kind = change
        if b"/" in path:
            return False
        status = self._root.top.status(path)
        return kind != "C" or status is None or not stat.S_ISDIR(status.st_mode)

    def _hide(self, path: bytes) -> None:
        above, slash, name = path.rpartition(b"/")
        self._writer.add(Entry(above + slash + WHITEOUT + name, (), TarKind.FILE, 0, 0, 0, 0, 0))

    def _add(self, path: bytes, change: Kind) -> None:
        """The container may run meanwhile: what is gone when it is looked at is passed over."""
        above, _, name = path.rpartition(b"/")
        try:
            if above != self._here.path:
                self._here = self._root.directory(components(above))
            here = self._here
            status = os.stat(name, dir_fd=here.fd, follow_symlinks=False)
            kind = kind_of(status)
            if kind is None:
                self._sockets.append(os.fsdecode(path))
                if change == "C":
                    self._hide(path)  # what had its name below
                return
            several = status.st_nlink > 1 and kind is not TarKind.DIRECTORY
            file = (status.st_dev, status.st_ino)
            if several and file in self._names:
                self._writer.add_link(path, status, self._names[file])
                return
            self._writer.add_from(here, name, path, kind, status)
            if several:
                self._names[file] = path
        except (FileNotFoundError, NotADirectoryError):
            return


def _root_differs(top: Directory, status: os.stat_result, lowers: Sequence[Path], *, touched: bool) -> bool:
    """Whether the root directory itself is part of the layer. Its time alone is no change."""
    if not lowers:
        return touched or stat.S_IMODE(status.st_mode) != IMPLIED_MODE
    lower = Root(lowers[0]).top
    old = os.fstat(lower.fd)
    if (old.st_mode, old.st_uid, old.st_gid) != (status.st_mode, status.st_uid, status.st_gid):
        return True
    return attributes_of(top.fd) != attributes_of(lower.fd) or (touched and old.st_mtime_ns != status.st_mtime_ns)
