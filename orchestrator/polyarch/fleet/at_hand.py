"""What an engine has of a variant, as far as its facts tell."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from polyarch.fleet.facts import Engine, EngineImage
from polyarch.fleet.offers import Content, Layer
from polyarch.oci.digest import Digest


class AtHand:
    """The images and blobs of one engine, looked up by name and content."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._named: dict[str, list[EngineImage]] = {}
        self._images: set[Digest] = set()
        self._blobs = set(engine.blobs)
        # docker finds a layer by all that lies below it (its chain ID), podman by itself.
        self._stacks: dict[Digest, Any] = {}
        self._layers: set[Digest] = set()
        for image in engine.images:
            for name in image.names:
                self._named.setdefault(name, []).append(image)
            self._images.add(image.id)
            self._images.update(image.digests)
            if engine.kind == "docker":
                place = self._stacks
                for layer in image.layers:
                    place = place.setdefault(layer, {})
            else:
                self._layers.update(image.layers)

    def has_name(self, name: str) -> bool:
        """Whether anything has this whole name."""
        return name in self._named

    def holds(self, name: str, root: Digest, content: Content) -> bool:
        """Whether `name`, which stands for `root` in the registry, is this variant on the device.

        docker and podman are asked for the image ID, which is the config's digest: what was loaded from an archive has
        no other. Of an index, containerd has those variants whose manifest and config it has.
        """
        return any(self._is(image, root, content) for image in self._named.get(name, ()))

    def _is(self, image: EngineImage, root: Digest, content: Content) -> bool:
        if image.id:
            return image.id == content.config
        if content.manifest not in image.digests and root not in image.digests:
            return False
        if self._engine.kind == "oci":
            return content.manifest in self._blobs and not self.lacks(content)
        if content.manifest in image.digests:
            return True
        if self._engine.by_digest:
            return image.layers == tuple(layer.diff_id for layer in content.layers)
        return content.manifest in self._blobs and content.config in self._blobs

    def lacks(self, content: Content) -> list[tuple[Digest, int, int]]:
        """The blobs that have to travel: digest, size, and the bytes that they need besides when they are unpacked."""
        if self._engine.kind == "oci":
            whole = [(layer.digest, layer.size, 0) for layer in content.layers]
            return self._unheld([(content.config, content.config_size, 0), *whole])
        blobs = [(layer.digest, layer.size, layer.unpacked) for layer in self._upper(content)]
        if self._engine.kind == "containerd":
            return self._unheld([(content.config, content.config_size, 0), *blobs])
        if content.config in self._images or content.manifest in self._images:
            return []
        return [(content.config, content.config_size, 0), *blobs]

    def _unheld(self, blobs: list[tuple[Digest, int, int]]) -> list[tuple[Digest, int, int]]:
        return [blob for blob in blobs if blob[0] not in self._blobs]

    def _upper(self, content: Content) -> Iterator[Layer]:
        """The layers that no image of the engine's has."""
        place: dict[Digest, Any] | None = self._stacks
        for layer in content.layers:
            place = place.get(layer.diff_id) if place else None
            if place is None and layer.diff_id not in self._layers:
                yield layer
