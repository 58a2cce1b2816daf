"""What a registry is to offer in the tests, and how its author tells where."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from polyarch.contract import Document, Manifest, Reference, Registry
from polyarch.testing.conformance.images import BIG, MAX_TAG_LENGTH, SampleImages

IMAGE = "image"
"""One manifest, for linux/amd64: what each source can hold."""
INDEX = "index"
"""An index of linux/amd64, linux/arm64 and linux/arm/v7."""
ODD = "odd"
"""An index, a manifest and a config with odd spaces, unknown fields and unicode."""
DOCKER = "docker"
"""One Docker schema 2 manifest, for linux/arm64."""
DOCKER_LIST = "docker-list"
"""A Docker manifest list of linux/amd64 and linux/arm64."""
BIG_LAYER = "big"
"""One manifest with a layer of more than 8 MiB."""
LONG_TAG = "t" * MAX_TAG_LENGTH
"""The same as `IMAGE`, under the longest tag."""


@dataclass(frozen=True, slots=True)
class Content:
    """An OCI image layout with the images; `names` (each a tag) -> what the name points at."""

    layout: Path
    names: Mapping[str, Document]
    _images: SampleImages = field(repr=False)

    def file(self, digest: str) -> Path:
        """The file of a blob or document."""
        return self._images.path(digest)

    def manifest(self, name: str) -> Manifest:
        """The one manifest that a name points at."""
        document = self.names[name]
        assert isinstance(document, Manifest)
        return document


@dataclass(frozen=True, slots=True)
class Source:
    """A registry, and the references under which it offers the content; names that it cannot offer are left out.

    `exact` is False where the source makes manifests and indexes itself, so that their bytes are not the ones put in.
    """

    registry: Registry
    references: Mapping[str, Reference]
    exact: bool = True


def write_content(directory: Path) -> Content:
    """Writes the layout."""
    images = SampleImages(directory, "content")
    plain = images.image("linux/amd64")
    platforms = [plain, images.image("linux/arm64"), images.image("linux/arm/v7")]
    odd = images.image("linux/amd64", odd=True)
    docker = [images.image(platform, docker=True) for platform in ("linux/amd64", "linux/arm64")]
    names: dict[str, Document] = {
        IMAGE: plain.manifest,
        INDEX: images.index(*platforms),
        ODD: images.index(odd, odd=True),
        DOCKER: docker[1].manifest,
        DOCKER_LIST: images.index(*docker, docker=True),
        BIG_LAYER: images.image("linux/amd64", layers=[images.layer("big", BIG)]).manifest,
        LONG_TAG: plain.manifest,
    }
    for name, document in names.items():
        images.name_in_layout(name, document)
    images.finish()
    return Content(directory, names, images)
