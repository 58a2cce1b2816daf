"""A layer made mountable without unpacking it: its archive as it is, and beside it the metadata of an EROFS image.

::

    DIRECTORY/layer.tar      the uncompressed layer, to the last byte
    DIRECTORY/layer.erofs    names, owners, modes…, and where in the archive the bytes of each file are
    DIRECTORY/layer.sum      the digest of the metadata, by which they are known to be what was written

In two steps, because layers arrive at the same time and a layer's metadata depend on those of the layers below it:
`scan_layer` writes the archive while it is hashed, `write_layer` the metadata. Every byte that a container can read
is of an archive whose diff ID was held against what was written, and the metadata say what those same bytes said.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from polyarch.errors import IntegrityError, StorageError
from polyarch.files import FILE_MODE, disk_error
from polyarch.oci.digest import Digest, hex_of, short
from polyarch.unpack.erofs import format as form
from polyarch.unpack.erofs.content import Unfit
from polyarch.unpack.erofs.filling import fill
from polyarch.unpack.erofs.node import Folder, Node
from polyarch.unpack.erofs.reader import Lower
from polyarch.unpack.erofs.scanned import Scanned
from polyarch.unpack.erofs.sizes import has_its_sizes
from polyarch.unpack.erofs.tree import MemoryTree
from polyarch.unpack.erofs.writer import write_metadata
from polyarch.unpack.image import OpenLayer, new_directory, sync_file_system
from polyarch.unpack.limits import USUAL, LayerLimits
from polyarch.unpack.stream import LayerStream
from polyarch.unpack.tar import Kind, TarReader

_BUFFER = 1 << 18

ARCHIVE = form.ARCHIVE_NAME
METADATA = form.METADATA_NAME

__all__ = ["ARCHIVE", "METADATA", "Scanned", "Unfit", "prepare_layer", "scan_layer", "write_layer", "write_trial"]


def scan_layer(stream: LayerStream, archive: BinaryIO | None) -> Scanned:
    """Read a layer to its end, write its uncompressed bytes into `archive`, and keep what is said of its entries.

    Returns when the diff ID is the right one. Closes the stream. Raises IntegrityError: the layer is hostile, damaged,
    or another one; StorageError: the disk is full.
    """
    scanned = Scanned(stream.where)
    if archive is not None:
        stream.copy_to(lambda data: _write(archive, data, stream.where))
    try:
        reader = TarReader(stream)
        for entry in reader:
            link = b"/".join(reader.components(entry.link)) if entry.kind is Kind.HARD_LINK else entry.link
            scanned.add(entry, b"/".join(entry.parts), link)
        stream.finish()
    finally:
        stream.close()
    scanned.size = stream.position
    if stream.diff_id:
        scanned.tag = hex_of(stream.diff_id)[:64].encode()
    return scanned


def write_layer(scanned: Scanned, directory: Path, lowers: Sequence[Path], *, limits: LayerLimits, sync: bool) -> None:
    """Write the metadata of a layer beside its archive in `directory`.

    `lowers` are finished directories of this form, the nearest first; `limits` those that it was scanned with. With
    `sync` all of `directory` is on the disk then. Raises IntegrityError: the layer cannot be laid over those; Unfit: it
    can, but not in this form; StorageError.
    """
    try:
        with _opened(lowers) as layers:
            tree = MemoryTree(layers, scanned, limits)
            fill(tree, scanned)
            limits.settle()
            tree.finish()
            with (directory / form.METADATA_NAME).open("xb", buffering=_BUFFER) as file:
                os.fchmod(file.fileno(), FILE_MODE)
                write_metadata(file, tree.root, scanned, _uuid(scanned.tag, len(lowers)))
                file.flush()
                (directory / form.SUM_NAME).write_text(f"{_digest(directory)}\n")
                (directory / form.SUM_NAME).chmod(FILE_MODE)
                if sync:
                    sync_file_system(file.fileno())
    except OSError as error:
        raise disk_error(error, f"{scanned.where}: its metadata cannot be written") from error


def metadata_is_sound(directory: Path) -> bool:
    """Whether a finished layer's metadata are what was written; of those without a digest only the sizes tell."""
    try:
        return (directory / form.SUM_NAME).read_text("ascii", "replace") == f"{_digest(directory)}\n"
    except FileNotFoundError:
        return not directory.is_dir() or has_its_sizes(directory)
    except OSError:  # a bad place of the disk is the same as wrong bytes
        return False


def _digest(directory: Path) -> Digest:
    with (directory / form.METADATA_NAME).open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def write_metadata_anew(
    directory: Path, diff_id: Digest, new: Path, lowers: Sequence[Path], *, limits: LayerLimits
) -> None:
    """Write into the folder `new` what stands beside the archive in `directory`; as `write_layer`, with its errors."""
    try:
        source = (directory / form.ARCHIVE_NAME).open("rb")
    except OSError as error:
        raise disk_error(error, f"cannot read {directory / form.ARCHIVE_NAME}") from error
    scanned = scan_layer(LayerStream(source, f"layer {short(diff_id)}", diff_id, limits), None)
    write_layer(scanned, new, lowers, limits=limits, sync=True)


def _uuid(tag: bytes, below: int) -> bytes:
    """Of a layer with so many below: an image may have the same one twice."""
    return hashlib.sha256(b"%b %d" % (tag, below)).digest()[:16]


def prepare_layer(
    open_layer: OpenLayer,
    diff_id: Digest,
    directory: Path,
    lowers: Sequence[Path],
    *,
    limits: LayerLimits | None = None,
    sync: bool = True,
    same: Path | None = None,
    ready: Callable[[Scanned, Path], None] = lambda scanned, archive: None,
) -> None:
    """Both steps, in a new directory that gets the name `directory` at the end.

    The `lowers` may still be on their way: `ready` is called between the steps, with what was scanned and its archive,
    which is the right one, and returns when they are whole. `same` is the archive of a finished layer of the same diff
    ID: it gets a further name instead of being written again, if its bytes are still those of the diff ID.

    Raises as the two steps do and as `ready` does, and UsageError where `directory` cannot be made.
    """
    where, limits = f"layer {short(diff_id)}", limits or USUAL.of_layer()
    with new_directory(directory) as new:
        archive = new / form.ARCHIVE_NAME
        scanned = _scan_again(same, archive, where, diff_id, limits) if same else None
        if scanned is None:
            with open_layer() as source, _created(archive, where) as file:
                scanned = scan_layer(LayerStream(source, where, diff_id, limits), file)
        ready(scanned, archive)
        write_layer(scanned, new, lowers, limits=limits, sync=sync)


def _scan_again(same: Path, archive: Path, where: str, diff_id: Digest, limits: LayerLimits) -> Scanned | None:
    """Give the archive a further name and scan it; None where that cannot be."""
    try:
        archive.hardlink_to(same)
        with archive.open("rb") as source:
            return scan_layer(LayerStream(source, where, diff_id, limits), None)
    except (OSError, IntegrityError, StorageError):
        archive.unlink(missing_ok=True)
        return None


def write_trial(directory: Path) -> bytes:
    """Write a layer that holds one file, called `file`, for a mount on trial; returns what is in that file."""
    content = b"polyarch"
    root = Folder(None, b"", 0o755)
    root.names[b"file"] = Node(0o100644, 0, 0, 0, len(content), form.BLOCK)
    (directory / form.ARCHIVE_NAME).write_bytes(bytes(form.BLOCK) + content + bytes(form.BLOCK - len(content)))
    with (directory / form.METADATA_NAME).open("wb") as file:
        scanned = Scanned("a trial")
        scanned.size = 2 * form.BLOCK
        write_metadata(file, root, scanned)
    return content


@contextlib.contextmanager
def _opened(directories: Sequence[Path]) -> Iterator[list[Lower]]:
    with contextlib.ExitStack() as stack:
        lowers = []
        for directory in directories:
            lowers.append(lower := Lower(directory))
            stack.callback(lower.close)
        yield lowers


@contextlib.contextmanager
def _created(path: Path, where: str) -> Iterator[BinaryIO]:
    try:
        file = path.open("xb", buffering=0)
    except OSError as error:
        raise disk_error(error, f"{where}: its archive cannot be written") from error
    with file:
        os.fchmod(file.fileno(), FILE_MODE)
        yield file


def _write(archive: BinaryIO, data: bytes, where: str) -> None:
    rest = memoryview(data)
    try:
        while rest:
            rest = rest[archive.write(rest) :]
    except OSError as error:
        raise disk_error(error, f"{where}: its archive cannot be written") from error
