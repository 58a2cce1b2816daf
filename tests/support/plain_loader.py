"""An ImageLoader over the plain storage, with every ability: what the conformance kit is tried on."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import Path
from typing import Any

import pytest

from polyarch.contract import Descriptor, Digest, HasBlobFiles, Image, ImageSummary, Platform, Reference, UsageError
from support.plain_storage import PlainStorage


class PlainLoader:
    """Satisfies ImageLoader, ListsImages, SummarisesImages and RemovesImages."""

    storage: type[PlainStorage] = PlainStorage

    def __init__(self, folder: Path) -> None:
        self.kept = self.storage(folder)

    def has(self, image: Image) -> bool:
        found = self.kept.names().get(self.kept.key(image.reference), ())
        return any(self.same(one, image) for one in found)

    def same(self, one: Image, other: Image) -> bool:
        return one.config.digest == other.config.digest

    def lacks(self, image: Image) -> Collection[Digest]:
        return [blob.digest for blob in image.manifest.blobs if not self.kept.has_blob(blob)]

    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        if image.reference.scheme:
            raise UsageError(f"{image.reference} is no name here")
        lacked = self.lacks(image)
        for blob in image.manifest.blobs:
            if blob.digest in lacked:
                self.take(blob, blobs)
        self.name(image)

    def take(self, blob: Descriptor, blobs: HasBlobFiles) -> None:
        with self.kept.write_blob(blob) as writer, blobs.blob_path(blob.digest).open("rb") as file:
            if writer is not None:
                writer.restart()
                while piece := file.read(1 << 16):
                    writer.write(piece)
                writer.finish()

    def name(self, image: Image) -> None:
        self.kept.commit(image)

    def images(self) -> Iterator[Image]:
        return self.kept.images()

    def summaries(self) -> Iterator[ImageSummary]:
        return self.kept.summaries()

    def remove(self, reference: Reference, platform: Platform | None = None) -> tuple[Digest, ...]:
        return self.kept.remove(reference, platform)

    def prune(self) -> tuple[tuple[Digest, int], ...]:
        return self.kept.prune()

    def close(self) -> None:
        pass


def loader_fixtures(kind: type[PlainLoader]) -> dict[str, Any]:
    """What a test class of the kit needs to try such a loader."""

    @pytest.fixture
    def open_loader(self: object, tmp_path: Path) -> Callable[[], PlainLoader]:
        return lambda: kind(tmp_path / "loader")

    return {"open_loader": open_loader, "most_held": 1 << 20}
