"""Images with their layers compressed in another way, for a push: new manifests, the configs as they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import field, replace
from pathlib import Path

from polyarch.container.committed import oci_layer_type
from polyarch.contract.registry import BlobStream
from polyarch.contract.storage import Image, ReadsBlobs
from polyarch.errors import NotFoundError, StorageError
from polyarch.events import Emit, Warned
from polyarch.files import disk_error
from polyarch.oci.config import check_layer_count
from polyarch.oci.descriptor import Descriptor
from polyarch.oci.digest import Digest, short
from polyarch.oci.media_types import OCI_CONFIG
from polyarch.oci.written import write_manifest
from polyarch.transfer.outgoing import READ_SIZE, OpenBlob, stored
from polyarch.transfer.send import is_foreign
from polyarch.unpack.chunked import NotChunked
from polyarch.unpack.limits import Limits
from polyarch.unpack.recompress import Compression, is_so, recompress
from polyarch_platforms.lazy_dataclass import dataclass


@dataclass(slots=True)
class Recompressor:
    """Makes them; what is made lies in files in `folder`, and is opened by `open_blob` with all else of `storage`."""

    storage: ReadsBlobs
    folder: Path
    compression: Compression
    emit: Emit
    limits: Limits
    _made: dict[Digest, Descriptor] = field(default_factory=dict)
    _files: dict[Digest, Path] = field(default_factory=dict)

    def image(self, image: Image) -> Image:
        """The image with all its layers compressed so; itself where they are already.

        A layer that cannot be compressed so stays, which is told. Raises IntegrityError for a layer that is not what
        the config says, StorageError, HostError where nothing here compresses so.
        """
        manifest, config = image.manifest, image.config
        check_layer_count(config, len(manifest.layers), str(image.reference))
        layers = [self._layer(layer, diff_id) for layer, diff_id in zip(manifest.layers, config.diff_ids, strict=True)]
        if [layer.digest for layer in layers] == [layer.digest for layer in manifest.layers]:
            return image
        made = write_manifest(replace(manifest.config, media_type=OCI_CONFIG), layers, manifest.annotations)
        return replace(image, root=made, manifest=made)

    def _layer(self, layer: Descriptor, diff_id: Digest) -> Descriptor:
        if is_foreign(layer) or is_so(layer, self.compression):
            return replace(layer, media_type=oci_layer_type(layer.media_type))
        if layer.digest not in self._made:
            self._made[layer.digest] = self._pack(layer, diff_id)
        return self._made[layer.digest]

    def _pack(self, layer: Descriptor, diff_id: Digest) -> Descriptor:
        path = self.folder / short(layer.digest)
        try:
            with self.storage.open_blob(layer.digest) as source, path.open("wb") as out:
                try:
                    made = recompress(
                        source, f"layer {short(layer.digest)}", diff_id, self.compression, out, limits=self.limits
                    )
                except NotChunked as why:
                    self.emit(Warned(f"layer {short(layer.digest)} is pushed as it is: {why}"))
                    return replace(layer, media_type=oci_layer_type(layer.media_type))
        except NotFoundError as error:
            raise StorageError(f"damaged: {error.message}", "remove the image and pull it again") from error
        except OSError as error:
            raise disk_error(error, f"cannot compress a layer in {self.folder}") from error
        self._files[made.digest] = path
        return made

    @property
    def open_blob(self) -> OpenBlob:
        """Opens the blobs that were made, and those of the storage."""
        kept = stored(self.storage)

        @contextmanager
        def made(path: Path, offset: int) -> Iterator[BlobStream]:
            with path.open("rb") as file:
                file.seek(offset)
                yield BlobStream(offset, iter(lambda: file.read(READ_SIZE), b""))

        def opened(blob: Descriptor, offset: int) -> AbstractContextManager[BlobStream]:
            path = self._files.get(blob.digest)
            return kept(blob, offset) if path is None else made(path, offset)

        return opened

    def told(self, name: str, images: int) -> str:
        """What a user is to know of a push of so many images under a name."""
        new = "a new index with new manifests" if images > 1 else "a new manifest"
        return (
            f"{name} gets {new}, its layers compressed by {self.compression}: what signs or attests the image at hand"
            " does not speak of it"
        )
