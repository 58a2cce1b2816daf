"""What the layers of images hold, found in one walk of each and remembered below `ROOT/cache/listings`.

::

    blob-HEX     a layer's entries, by the digest of its blob
    image-HEX    what layers come to that lie over each other, by the digest of their digests

Blobs are what their digests say, so what is remembered never grows old. What is damaged is made again, what cannot be
written is not, and what was not asked for longest goes when all takes more than `MOST_BYTES`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

from polyarch.contract.storage import Image, ReadsBlobs
from polyarch.errors import StorageError
from polyarch.events import Emit, LayerListed
from polyarch.files import make_directory, read_bounded, write_in_one_step
from polyarch.oci.config import check_layer_count
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import digest_of, hex_of, short
from polyarch.unpack.limits import USUAL, Limits
from polyarch.unpack.merged import Merged, read_merged

MOST_BYTES = 256 << 20
"""Of all that is remembered; an image of 100,000 files takes about 20 MB, half of it its layers'."""

_AT_ONCE = 4
T = TypeVar("T")


class Listings:
    """Below `cache`. From several processes at a time, too: who is late writes the same again."""

    def __init__(self, cache: Path, emit: Emit, limits: Limits = USUAL) -> None:
        self._limits = limits
        self._folder = cache / "listings"
        self._emit = emit

    def of(self, image: Image, storage: ReadsBlobs) -> Merged:
        """What the image's layers come to. Raises IntegrityError, NotFoundError, StorageError."""
        layers = image.manifest.layers
        check_layer_count(image.config, len(layers), str(image.reference))
        name = f"image-{hex_of(digest_of(' '.join(layer.digest for layer in layers).encode()))}"
        return self._remembered(name, read_merged) or self._made(name, layers, storage)

    def _made(self, name: str, layers: Sequence[Descriptor], storage: ReadsBlobs) -> Merged:
        from polyarch.transfer.threads import at_once
        from polyarch.unpack.listing import Listing, list_layer, read_listing
        from polyarch.unpack.merge import merge

        limits = self._limits.of_layers(len(layers))

        def listed(numbered: tuple[int, Descriptor]) -> Listing:
            number, layer = numbered
            name = f"blob-{hex_of(layer.digest)}"
            if (known := self._remembered(name, read_listing)) is not None:
                return known
            where = f"layer {number} of {len(layers)} ({short(layer.digest)})"
            made = list_layer(partial(storage.open_blob, layer.digest), layer.digest, where, limits=limits[number - 1])
            self._remember(name, made.packed())
            self._emit(LayerListed(layer.digest, layer.size))
            return made

        # In threads: decompression and hashing let others run meanwhile, and are nearly all of the work.
        cores = len(os.sched_getaffinity(0))
        made = merge(at_once(listed, enumerate(layers, 1), min(cores, _AT_ONCE)), self._limits)
        self._remember(name, made.packed())
        return made

    def _remembered(self, name: str, read: Callable[[bytes], T]) -> T | None:
        path = self._folder / name
        try:
            known = read(read_bounded(path, MOST_BYTES))
        except (OSError, ValueError, StorageError):
            return None
        with contextlib.suppress(OSError):  # for `_make_room`
            os.utime(path)
        return known

    def _remember(self, name: str, data: bytes) -> None:
        if len(data) > MOST_BYTES:
            return
        temporary = self._folder / f".{name}.{secrets.token_hex(6)}"
        try:
            make_directory(self._folder, 0o700)
            self._make_room(len(data))
            try:
                write_in_one_step(self._folder / name, data, temporary, sync=False)
            except OSError:
                temporary.unlink(missing_ok=True)
        except OSError:  # of no consequence but time
            return

    def _make_room(self, size: int) -> None:
        """Remove what was not asked for longest. Raises OSError."""
        found = sorted(
            (entry.stat().st_mtime_ns, entry.stat().st_size, entry.path) for entry in os.scandir(self._folder)
        )
        left = sum(size for _, size, _ in found) + size
        for _, size, path in found:
            if left <= MOST_BYTES:
                return
            Path(path).unlink(missing_ok=True)
            left -= size
