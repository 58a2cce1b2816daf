"""The storage `oci-archive:FILE`: an OCI image layout in a tar archive, with docker's `manifest.json` beside it.

So one file serves all: `skopeo` and `podman` read the layout, `ctr images import` too (by the annotation
`io.containerd.image.name`), and `docker load` reads `manifest.json`. Layers stay as they came.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from polyarch.contract import (
    CONTAINERD_NAME,
    Descriptor,
    Digest,
    HasBlobFiles,
    Image,
    LayoutImages,
    OciArchive,
    StorageServices,
    VerifiedPlace,
    blob_name,
    index_json,
    marker_json,
)
from polyarch_plugins.storages.archives.archive import Archive, chunks_of
from polyarch_plugins.storages.archives.tar_writer import TarWriter


class OciArchiveStorage:
    """Satisfies ImageLoader and ListsImages."""

    def __init__(self, services: StorageServices) -> None:
        """Touches no file. Raises UsageError where none was named."""
        self._archive = Archive("oci-archive", services, OciArchive)

    @property
    def _where(self) -> str:
        return str(self._archive.path)

    def has(self, image: Image) -> bool:
        """True if the name points at this very variant, and at this root."""
        wanted = (image.root.digest, image.manifest.digest)
        return any((each.root.digest, each.manifest.digest) == wanted for each in self._find(image))

    def _find(self, image: Image) -> tuple[Image, ...]:
        place = self._archive.read()
        return (
            LayoutImages(VerifiedPlace(place, self._where)).find(place.index.manifests, image.reference)
            if place
            else ()
        )

    def lacks(self, image: Image) -> Collection[Digest]:
        """What is not in the file."""
        layout = VerifiedPlace(self._archive.read(), self._where)
        return [blob.digest for blob in image.manifest.blobs if not layout.has_blob(blob)]

    def images(self) -> Iterator[Image]:
        """Every image under every name."""
        place = self._archive.read()
        if place is not None:
            images = LayoutImages(VerifiedPlace(place, self._where))
            for entry in place.index.manifests:
                yield from images.of(entry)

    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        """Write the archive again, with the image, and put it in the old one's place."""
        with self._archive.replaced() as stream:
            place = self._archive.read()
            old = VerifiedPlace(place, self._where)
            new = LayoutImages(old).with_image(place.index.manifests if place else (), image)
            entries = [*new.entries[:-1], _with_containerd_name(new.entries[-1], image)]
            incoming = {blob.digest: blob for blob in image.manifest.blobs if not old.has_blob(blob)}
            sizes = {digest: blob.size for digest, blob in incoming.items()}
            layout = VerifiedPlace(place, self._where, (*new.documents, image.config.raw), sizes)
            images = LayoutImages(layout)
            tar = TarWriter(stream)
            tar.add("oci-layout", [marker_json()])
            tar.add("index.json", [index_json(place.index if place else None, entries, self._where)])
            tar.add("manifest.json", [_docker_manifest(images, entries)])
            for digest in sorted(images.needed(entries)):
                if digest in new.raw:
                    tar.add(blob_name(digest), [new.raw[digest]])
                elif digest in incoming:
                    tar.add(blob_name(digest), chunks_of(blobs.blob_path(digest)), incoming[digest].size)
                elif place is not None and (size := place.size(digest)) is not None:  # else an index names it only
                    tar.add(blob_name(digest), place.chunks(digest), size)
            tar.finish()

    def close(self) -> None:
        """Close the file."""
        self._archive.close()


def _with_containerd_name(entry: Descriptor, image: Image) -> Descriptor:
    """containerd takes the whole name from an annotation of its own."""
    if image.reference.scheme or not image.reference.tag:
        return entry
    name = str(replace(image.reference, digest=""))
    return replace(entry, annotations={**entry.annotations, CONTAINERD_NAME: name})


def _docker_manifest(images: LayoutImages, entries: Iterable[Descriptor]) -> bytes:
    """What `docker load` and `podman load` read. They keep one platform of a name: the first, as those are sorted."""
    items = []
    for entry in entries:
        image = next(images.of(entry), None)
        if image is not None:
            named = image.reference.tag and not image.reference.scheme
            items.append(
                {
                    "Config": blob_name(image.manifest.config.digest),
                    "RepoTags": [str(image.reference)] if named else [],
                    "Layers": [blob_name(layer.digest) for layer in image.manifest.layers],
                }
            )
    return json.dumps(items, separators=(",", ":")).encode()
