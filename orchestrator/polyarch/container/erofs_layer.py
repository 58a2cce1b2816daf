"""One layer made as an EROFS image, in the storage of layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from polyarch.oci.digest import Digest, hex_of
from polyarch.unpack.erofs import format as form
from polyarch.unpack.erofs.layer import Scanned, prepare_layer
from polyarch.unpack.erofs.layer import Unfit as Unfit
from polyarch.unpack.image import OpenLayer
from polyarch.unpack.limits import LayerLimits

_TAG = 64


def make_erofs_layer(
    layer: OpenLayer,
    diff_id: Digest,
    directory: Path,
    lowers: Sequence[Path],
    *,
    limits: LayerLimits,
    sync: bool,
    ready: Callable[[Scanned, Path], None],
) -> None:
    """As `prepare_layer`; an archive that is here already, of the same layer above others, is shared."""
    same = _same(directory, diff_id)
    prepare_layer(layer, diff_id, directory, lowers, limits=limits, sync=sync, same=same, ready=ready)


def _same(directory: Path, diff_id: Digest) -> Path | None:
    """The archive of a finished layer with this diff ID: each has it in its metadata, as the name of its archive."""
    wanted = hex_of(diff_id)[:_TAG].encode()
    for other in directory.parent.iterdir():
        if not other.name.startswith(".") and other != directory:
            try:
                with (other / form.METADATA_NAME).open("rb", buffering=0) as file:
                    file.seek(form.DEVICE_OFFSET)
                    if file.read(_TAG) == wanted:
                        return other / form.ARCHIVE_NAME
            except OSError:
                continue  # removed just now
    return None
