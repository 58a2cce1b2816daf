"""Storages that break a promise of an ability, each for the tests that its `breaks` names."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, BinaryIO

from polyarch.contract import (
    Digest,
    Image,
    ImageSummary,
    NotFoundError,
    Platform,
    Reference,
)
from polyarch.testing.conformance.storage_abilities import StorageAbilities
from support.mutants import Mutants
from support.plain_storage import PlainStorage, storage_fixtures

MUTANTS = Mutants(StorageAbilities, storage_fixtures, PlainStorage)
breaks = MUTANTS.breaks


@breaks("test_blobs_are_read")
class ReadsUpToTheMiddle(PlainStorage):
    def open_blob(self, digest: Digest) -> BinaryIO:
        data = self.blob_path(digest).read_bytes()
        return io.BytesIO(data[: len(data) // 2])


class _Pipe(io.BytesIO):
    def seek(self, *arguments: Any) -> int:
        raise io.UnsupportedOperation("seek")


@breaks("test_blobs_are_read_from_anywhere")
class ReadsAPipe(PlainStorage):
    def open_blob(self, digest: Digest) -> BinaryIO:
        return _Pipe(self.blob_path(digest).read_bytes())


@breaks("test_a_blob_that_is_not_here_cannot_be_read")
class RaisesPythonsError(PlainStorage):
    def open_blob(self, digest: Digest) -> BinaryIO:
        return self.path(digest).open("rb")


@breaks("test_a_blob_that_is_not_here_cannot_be_read")
class ReadsPartials(PlainStorage):
    def open_blob(self, digest: Digest) -> BinaryIO:
        return self.partial(digest).open("rb") if self.partial(digest).exists() else super().open_blob(digest)


@breaks("test_blobs_are_files")
class AddsAHeadToFiles(PlainStorage):
    def blob_path(self, digest: Digest) -> Path:
        path = super().blob_path(digest)
        headed = path.with_suffix(".headed")
        headed.write_bytes(b"head" + path.read_bytes())
        return headed


@breaks("test_a_blob_that_is_not_here_is_no_file")
class NamesFilesThatAreNotThere(PlainStorage):
    def blob_path(self, digest: Digest) -> Path:
        return self.path(digest)


@breaks("test_all_images_are_listed")
class ListsEachManifestOnce(PlainStorage):
    def images(self) -> Iterator[Image]:
        yield from {image.manifest.digest: image for image in super().images()}.values()


@breaks("test_images_that_were_replaced_are_not_listed")
class ListsWhatWas(PlainStorage):
    def images(self) -> Iterator[Image]:
        return iter(self.__dict__.setdefault("ever", []))

    def commit(self, image: Image) -> None:
        super().commit(image)
        self.__dict__.setdefault("ever", []).append(image)


@breaks("test_images_are_summarised")
class TakesTheManifestForTheId(PlainStorage):
    def summary(self, image: Image) -> ImageSummary:
        return replace(super().summary(image), id=image.manifest.digest)


@breaks("test_a_removed_image_is_gone")
class LeavesBlobs(PlainStorage):
    def sweep(self) -> tuple[tuple[Digest, int], ...]:
        return ()


@breaks("test_removing_leaves_what_others_need")
class RemovesSharedBlobs(PlainStorage):
    def remove(self, reference: Reference, platform: Platform | None = None) -> tuple[Digest, ...]:
        blobs = [blob for image in self.find(reference) for blob in image.manifest.blobs]
        gone = super().remove(reference, platform)
        for blob in blobs:
            self.path(blob.digest).unlink(missing_ok=True)
        return gone


@breaks("test_one_of_two_names_is_removed")
class RemovesAllNames(PlainStorage):
    def remove(self, reference: Reference, platform: Platform | None = None) -> tuple[Digest, ...]:
        going = [image.manifest for image in self.find(reference)]
        gone = super().remove(reference, platform)
        self.write_names({name: images for name, images in self.names().items() if images[0].manifest not in going})
        return gone


@breaks("test_one_platform_is_removed")
class RemovesAllPlatforms(PlainStorage):
    def remove(self, reference: Reference, platform: Platform | None = None) -> tuple[Digest, ...]:
        return super().remove(reference)


@breaks("test_what_is_not_here_cannot_be_removed")
class RemovesQuietly(PlainStorage):
    def remove(self, reference: Reference, platform: Platform | None = None) -> tuple[Digest, ...]:
        with suppress(NotFoundError):
            return super().remove(reference, platform)
        return ()


@breaks("test_a_removed_image_can_come_again")
class RemembersWhatWent(PlainStorage):
    def remove(self, reference: Reference, platform: Platform | None = None) -> tuple[Digest, ...]:
        (self.folder / "went").touch()
        return super().remove(reference, platform)

    def find(self, reference: Reference) -> tuple[Image, ...]:
        return () if (self.folder / "went").exists() else super().find(reference)


@breaks("test_prune_takes_what_no_name_needs")
class PrunesNothing(PlainStorage):
    def prune(self) -> tuple[tuple[Digest, int], ...]:
        return ()


@breaks("test_prune_leaves_what_names_need")
class PrunesEverything(PlainStorage):
    def prune(self) -> tuple[tuple[Digest, int], ...]:
        for path in (self.folder / "blobs").iterdir():
            path.unlink()
        return ()


globals().update(MUTANTS.classes())
