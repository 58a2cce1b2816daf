"""The layers of an image, made ready for its containers in the form that fits."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from polyarch.container.failures import JustRemoved
from polyarch.container.forms import form_of_image
from polyarch.container.layers import Layers
from polyarch.container.record import Form
from polyarch.container.rights import Rights
from polyarch.container.snapshots import NotAsErofs, Snapshots
from polyarch.contract.storage import HasBlobFiles, Image
from polyarch.errors import IntegrityError, NotFoundError
from polyarch.events import Emit
from polyarch.files import disk_error, open_regular
from polyarch.oci.config import check_layer_count
from polyarch.oci.digest import Digest
from polyarch.settings import Settings
from polyarch.unpack.limits import limits_of

if TYPE_CHECKING:
    from polyarch.unpack.image import OpenLayer


def layers_of(image: Image, rights: Rights, settings: Settings) -> Layers:
    """Where the image's layers are, or are to be. Raises IntegrityError; HostError: the settings ask for a form that
    cannot be mounted here.
    """
    check_layer_count(image.config, len(image.manifest.layers), str(image.reference))
    diff_ids = image.config.diff_ids
    form = form_of_image(settings.layers, snapshots_root(settings), rights, diff_ids)
    return snapshots(form, rights, settings).layers(diff_ids)


def make_layers(
    layers: Layers, image: Image, storage: HasBlobFiles, rights: Rights, settings: Settings, emit: Emit
) -> Layers:
    """Make those of the layers ready that are not yet; where one cannot be an EROFS image, all unpacked.

    Raises JustRemoved where the image was removed before a container's record kept it; IntegrityError, StorageError,
    HostError.
    """
    try:
        for blob in (image.manifest.descriptor, *image.manifest.blobs):
            if not blob.urls:
                storage.blob_path(blob.digest)
    except NotFoundError as error:
        name = image.reference.familiar
        raise JustRemoved(f"{name} was removed just now: {error.message}", f"polyarch pull {name}") from error
    openers = [partial(_open, storage, layer.digest) for layer in image.manifest.layers]
    diff_ids = image.config.diff_ids
    try:
        form = ensure(layers.form, openers, diff_ids, rights, settings, emit)
    except IntegrityError as error:
        name = image.reference.familiar
        hint = f"polyarch verify {name} says whether the disk has damaged it, and with --repair fetches that again"
        raise IntegrityError(f"{name}: {error}", error.hint or hint, **error.details) from error
    return snapshots(form, rights, settings).layers(diff_ids)


def ensure(
    form: Form,
    layers: Sequence[OpenLayer],
    diff_ids: Sequence[Digest],
    rights: Rights,
    settings: Settings,
    emit: Emit,
) -> Form:
    """Make those of an image's layers that are not there in this form; the form that they are in then: unpacked where
    one cannot be an EROFS image, unless the settings ask for nothing else.

    Raises IntegrityError, StorageError, HostError.
    """
    try:
        snapshots(form, rights, settings).ensure(layers, diff_ids, emit)
    except NotAsErofs:
        if settings.layers == "erofs":
            raise
        form = "unpacked"
        snapshots(form, rights, settings).ensure(layers, diff_ids, emit)
    return form


def snapshots(form: Form, rights: Rights, settings: Settings) -> Snapshots:
    """The layers of all images in one form."""
    return Snapshots(
        snapshots_root(settings),
        rights,
        form,
        sync=settings.sync == "batch",
        lock_timeout=settings.lock_timeout,
        limits=limits_of(settings),
    )


def snapshots_root(settings: Settings) -> Path:
    """Where the layers of all images are."""
    return settings.root / "snapshots"


def _open(storage: HasBlobFiles, digest: Digest) -> BinaryIO:
    path = storage.blob_path(digest)
    try:
        return open_regular(path)
    except OSError as error:
        raise disk_error(error, f"cannot read the layer {path}") from error
