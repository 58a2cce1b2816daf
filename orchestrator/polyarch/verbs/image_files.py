"""Images as directories of files for polyarch's own use: `ROOT/files/MANIFEST_DIGEST`, whole or not there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterable
from functools import partial
from pathlib import Path

from polyarch.contract.storage import Image, ReadsBlobs
from polyarch.files import disk_error, disk_usage, make_directory
from polyarch.oci.digest import Digest, hex_of
from polyarch.unpack.image import unpack_image
from polyarch.unpack.limits import Limits
from polyarch.unpack.tree import remove_tree


def at_hand(images: Iterable[Image], directory: Path) -> Path | None:
    """Where one of `images` is unpacked below `directory`; None if none is."""
    places = (directory / hex_of(image.manifest.digest) for image in images)
    return next((place for place in places if place.is_dir()), None)


def unpacked(image: Image, storage: ReadsBlobs, directory: Path, *, limits: Limits) -> Path:
    """The image's merged root file system below `directory`, all files this user's; written only if it is not there.

    Raises IntegrityError, StorageError.
    """
    place = directory / hex_of(image.manifest.digest)
    try:
        make_directory(directory, 0o700)
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise disk_error(error, f"cannot write in {directory}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)  # one at a time; the lock goes with its holder, whatever ends it
        if not place.is_dir():
            for left in directory.glob(f".{place.name[:100]}.*"):  # by one that was killed
                remove_tree(left)
            layers = [partial(storage.open_blob, layer.digest) for layer in image.manifest.layers]
            unpack_image(layers, image.config.diff_ids, place, owners=False, limits=limits)
    finally:
        os.close(lock)
    return place


def remove_files(
    directory: Path, manifests: Collection[Digest], *, dry_run: bool = False
) -> tuple[tuple[Digest, int], ...]:
    """Remove what stands below `directory` for other manifests than these, and what killed processes left; with
    `dry_run` only look. (manifest digest, bytes on the disk) of each image; () while somebody unpacks one there.

    Raises StorageError.
    """
    try:
        lock = os.open(directory / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:  # nothing was ever unpacked
        return ()
    except OSError as error:
        raise disk_error(error, f"cannot read {directory}") from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        needed = {hex_of(digest) for digest in manifests}
        going = [path for path in sorted(directory.iterdir()) if path.is_dir() and path.name not in needed]
        found = [(f"sha256:{path.name}", disk_usage(path)) for path in going if not path.name.startswith(".")]
        for path in () if dry_run else going:
            remove_tree(path)
    except BlockingIOError:
        return ()
    except OSError as error:
        raise disk_error(error, f"cannot remove from {directory}") from error
    finally:
        os.close(lock)
    return tuple(found)
