"""Images as directories of files for polyarch's own use: `ROOT/files/MANIFEST_DIGEST`, whole or not there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path

from polyarch.contract.storage import Image, ReadsBlobs
from polyarch.files import disk_error, make_directory
from polyarch.oci.digest import hex_of
from polyarch.unpack.image import unpack_image
from polyarch.unpack.tree import remove_tree


def at_hand(images: Iterable[Image], directory: Path) -> Path | None:
    """Where one of `images` is unpacked below `directory`; None if none is."""
    places = (directory / hex_of(image.manifest.digest) for image in images)
    return next((place for place in places if place.is_dir()), None)


def unpacked(image: Image, storage: ReadsBlobs, directory: Path) -> Path:
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
            unpack_image(layers, image.config.diff_ids, place, owners=False)
    finally:
        os.close(lock)
    return place
