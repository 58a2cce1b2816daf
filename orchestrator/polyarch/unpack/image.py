"""Layers into directories: all of an image merged into one, or one layer alone, to be mounted with others."""

from __future__ import annotations

import fcntl
import os
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, TypeAlias

from polyarch.errors import IntegrityError, UsageError
from polyarch.files import disk_error, is_disk_fault
from polyarch.oci.digest import Digest, short
from polyarch.unpack.layer import LayerWriter
from polyarch.unpack.limits import USUAL, LayerLimits, Limits
from polyarch.unpack.overlay import OverlayTree
from polyarch.unpack.stack import Flavour
from polyarch.unpack.stream import LayerStream
from polyarch.unpack.tree import Tree, remove_tree

OpenLayer: TypeAlias = Callable[[], BinaryIO]
"""Opens a layer as it is kept, compressed or not."""


def unpack_image(
    layers: Sequence[OpenLayer],
    diff_ids: Sequence[Digest],
    directory: Path,
    *,
    owners: bool | None = None,
    limits: Limits = USUAL,
) -> None:
    """Write the merged root file system of `layers`, bottom first, into `directory`, which is made.

    It is put together beside its place and gets its name when it is whole; after any failure nothing is left.
    `owners`: files belong to whom the layers say (by default where this runs as root), else to this user; then setuid
    and setgid bits are left out. Devices are left out where the right to make them is missing.

    Raises UsageError: `directory` exists, or its parent does not; IntegrityError: a layer is not what its diff ID
    promises, or hostile; StorageError: the disk is full, or not to be written to.
    """
    if len(layers) != len(diff_ids):
        raise IntegrityError(f"the image has {len(layers)} layers, its config {len(diff_ids)} diff IDs")
    if os.path.lexists(directory):
        raise UsageError(f"{directory} exists already", "name a directory that is not there yet")
    _sweep(directory)
    with new_directory(directory) as new, _held(new, needed=False):
        tree = Tree(new)
        each = zip(layers, diff_ids, limits.of_layers(len(layers)), strict=True)
        for number, (open_layer, diff_id, held_to) in enumerate(each, 1):
            tree.begin_layer(first=number == 1)
            with open_layer() as source:
                where = f"layer {number} of {len(layers)} ({short(diff_id)})"
                stream = LayerStream(source, where, diff_id, held_to)
                LayerWriter(tree, os.geteuid() == 0 if owners is None else owners).write(stream)
        _finish(tree, directory)


def _sweep(directory: Path) -> None:
    """Remove what killed processes left beside a directory that they were to make."""
    start = f".{directory.name[:100]}."
    with suppress(OSError):
        for left in directory.parent.iterdir():
            if left.name.startswith(start) and len(left.name) == len(start) + 16 and left.name.endswith(".new"):
                with suppress(OSError), _held(left):
                    remove_tree(left)


@contextmanager
def _held(directory: Path, *, needed: bool = True) -> Iterator[None]:
    """Hold a directory's lock, so that it is not taken for one that a dead process left. Raises OSError: it is held."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            if needed:  # else a file system without locks is used nevertheless
                raise
        yield
    finally:
        os.close(descriptor)


def _finish(tree: Tree, directory: Path) -> None:
    try:
        tree.finish()
    except OSError as error:
        raise disk_error(error, f"cannot write {directory}") from error


def unpack_layer(
    open_layer: OpenLayer,
    diff_id: Digest,
    directory: Path,
    lowers: Sequence[Path],
    *,
    flavour: Flavour,
    owners: bool,
    limits: LayerLimits | None = None,
    sync: bool = True,
    wait: Callable[[], None] = lambda: None,
) -> None:
    """Write one layer into `directory`, which is made, in overlayfs' form; `lowers` are those below, nearest first.

    These may still be written by others: `wait` returns when they are whole, and this layer gets its name after that.
    With `sync` its bytes are on the disk before it gets its name. Raises as `unpack_image` does, and what `wait` does.
    """
    with new_directory(directory) as new:
        tree = OverlayTree(new, lowers, flavour, owners, wait)
        with open_layer() as source:
            LayerWriter(tree, owners).write(LayerStream(source, f"layer {short(diff_id)}", diff_id, limits))
        _finish(tree, directory)
        wait()
        if sync:
            sync_file_system(tree.top.fd)


@contextmanager
def new_directory(directory: Path) -> Iterator[Path]:
    """A new directory beside `directory`, which gets that name at the end, or is removed with all that is in it."""
    new = directory.with_name(f".{directory.name[:100]}.{secrets.token_hex(6)}.new")
    try:
        new.mkdir(0o700)
    except FileNotFoundError:
        if directory.parent.is_dir():  # /proc says so of whatever is to be made there
            raise UsageError(f"{directory.parent} takes no new directories", "name another place") from None
        raise UsageError(f"{directory.parent} does not exist", f"mkdir -p {directory.parent}") from None
    except OSError as error:
        raise disk_error(error, f"cannot make {directory}") from error
    try:
        yield new
        try:
            new.rename(directory)
        except OSError as error:
            if is_disk_fault(error):
                raise disk_error(error, f"cannot make {directory}") from error
            raise UsageError(f"{directory}: {error.strerror}") from error
    except BaseException:
        with suppress(OSError):  # what stopped it may forbid that, too: the next who makes it removes what is left
            remove_tree(new)
        raise


def sync_file_system(fd: int) -> None:
    """Bring all that was written into a file system to the disk. Raises StorageError."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    if libc.syncfs(fd) != 0:
        error = ctypes.get_errno()
        raise disk_error(OSError(error, os.strerror(error)), "the disk does not take the layer")
