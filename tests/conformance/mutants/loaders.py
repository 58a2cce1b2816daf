"""Image loaders that break a promise of each loader, each for the tests that its `breaks` names."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from urllib.parse import quote

from polyarch.contract import (
    OCI_MANIFEST,
    Descriptor,
    Digest,
    HasBlobFiles,
    Image,
    IntegrityError,
    NotFoundError,
    Reference,
    StorageError,
)
from polyarch.testing.conformance.loader import LoaderPromises
from support.mutants import Mutants
from support.plain_loader import PlainLoader, loader_fixtures
from support.plain_storage import Names, PlainStorage

MUTANTS = Mutants(LoaderPromises, loader_fixtures, PlainLoader)
breaks = MUTANTS.breaks


@breaks("test_an_image_is_not_here_before_it_came")
class HasEverything(PlainLoader):
    def has(self, image: Image) -> bool:
        return True


@breaks("test_a_loaded_image_is_here")
class NamesNothing(PlainLoader):
    def name(self, image: Image) -> None:
        pass


@breaks("test_a_loaded_image_is_here_for_everybody")
class ForgetsNames(PlainLoader):
    class storage(PlainStorage):
        kept: Names = {}  # noqa: RUF012

        def names(self) -> Names:
            return dict(self.kept)

        def write_names(self, names: Names) -> None:
            self.kept = names


@breaks("test_only_blobs_of_the_image_are_lacked")
class LacksTheManifest(PlainLoader):
    def lacks(self, image: Image) -> Collection[Digest]:
        return [*super().lacks(image), image.manifest.digest]


@breaks("test_only_blobs_of_the_image_are_lacked")
class LacksEachTwice(PlainLoader):
    def lacks(self, image: Image) -> Collection[Digest]:
        return [*super().lacks(image)] * 2


@breaks("test_new_layers_are_lacked")
class LacksTheConfigAlone(PlainLoader):
    def lacks(self, image: Image) -> Collection[Digest]:
        return [image.manifest.config.digest]


@breaks("test_asking_changes_nothing")
class NamesWhatItIsAskedFor(PlainLoader):
    def lacks(self, image: Image) -> Collection[Digest]:
        names = self.kept.names()
        self.kept.write_names({**names, image.reference: (image,)})
        return super().lacks(image)


@breaks("test_asking_changes_nothing")
class LacksOnce(PlainLoader):
    def lacks(self, image: Image) -> Collection[Digest]:
        lacked: Collection[Digest] = self.__dict__.pop("lacked", super().lacks(image))
        self.lacked: list[Digest] = []
        return lacked


@breaks("test_only_what_was_lacked_is_read")
class ReadsMoreThanItLacks(PlainLoader):
    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        with suppress(NotFoundError):
            blobs.blob_path(image.manifest.digest)
        super().load(image, blobs)


@breaks("test_the_files_stay_as_they_are")
class TakesTheFilesAway(PlainLoader):
    def take(self, blob: Descriptor, blobs: HasBlobFiles) -> None:
        blobs.blob_path(blob.digest).rename(self.kept.path(blob.digest))


@breaks("test_the_files_stay_as_they_are")
class WritesIntoTheFiles(PlainLoader):
    def take(self, blob: Descriptor, blobs: HasBlobFiles) -> None:
        super().take(blob, blobs)
        with blobs.blob_path(blob.digest).open("ab") as file:
            file.write(b"seen")


@breaks("test_another_image_is_not_here")
class KnowsTheNameAlone(PlainLoader):
    def same(self, one: Image, other: Image) -> bool:
        return True


@breaks("test_another_name_does_not_point_here")
class KnowsTheImageAlone(PlainLoader):
    def has(self, image: Image) -> bool:
        return any(self.same(one, image) for one in self.images())


@breaks("test_a_name_moves")
class LeavesOldImages(PlainLoader):
    class storage(PlainStorage):
        def staying(self, images: tuple[Image, ...], new: Image) -> tuple[Image, ...]:
            return images


@breaks("test_a_name_moves")
class NamesOnce(PlainLoader):
    def name(self, image: Image) -> None:
        if self.kept.key(image.reference) not in self.kept.names():
            super().name(image)


@breaks("test_the_same_image_comes_twice")
class RefusesTheSameAgain(PlainLoader):
    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        if self.has(image):
            raise StorageError(f"{image.reference} exists")
        super().load(image, blobs)


class _Moving(PlainStorage):
    """An image has one name: the last."""

    def write_names(self, names: Names) -> None:
        moved = list(names.values())[-1][-1].manifest if names else None
        last = list(names)[-1:]
        super().write_names({n: each for n, each in names.items() if n in last or each[-1].manifest != moved})


@breaks("test_one_image_under_two_names")
class MovesImages(PlainLoader):
    storage = _Moving


@breaks("test_other_names_stay")
class HasOneName(PlainLoader):
    class storage(PlainStorage):
        def write_names(self, names: Names) -> None:
            super().write_names({name: images for name, images in names.items() if name == list(names)[-1]})


@breaks("test_images_share_layers")
class DoesNotLackButNeeds(PlainLoader):
    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        for blob in image.manifest.blobs:
            blobs.blob_path(blob.digest)
        super().load(image, blobs)


@breaks("test_platforms_of_one_name")
class KeepsOnePlatform(PlainLoader):
    class storage(PlainStorage):
        def staying(self, images: tuple[Image, ...], new: Image) -> tuple[Image, ...]:
            return ()


@breaks("test_another_root_takes_the_name_alone")
class MixesRoots(PlainLoader):
    class storage(PlainStorage):
        def staying(self, images: tuple[Image, ...], new: Image) -> tuple[Image, ...]:
            return tuple(one for one in images if one.platform != new.platform)


@breaks("test_foreign_platforms_are_taken")
class TakesWhatRunsHere(PlainLoader):
    def name(self, image: Image) -> None:
        if image.platform.architecture == "s390x":
            raise StorageError(f"no image for {image.platform} can run here")
        super().name(image)


@breaks("test_odd_documents_are_taken")
class WantsTidyDocuments(PlainLoader):
    def name(self, image: Image) -> None:
        if not image.config.raw.startswith(b"{"):
            raise IntegrityError("this is no config")
        super().name(image)


@breaks("test_dockers_media_types_are_taken")
class KnowsOnlyOciTypes(PlainLoader):
    def name(self, image: Image) -> None:
        if image.manifest.media_type != OCI_MANIFEST:
            raise IntegrityError(f"{image.manifest.media_type} is unknown")
        super().name(image)


@breaks("test_a_layer_may_come_twice")
class WantsLayersOnce(PlainLoader):
    def name(self, image: Image) -> None:
        if len(image.manifest.layers) != len(set(image.config.diff_ids)):
            raise IntegrityError("the layers are not those of the config")
        super().name(image)


@breaks("test_names_of_all_forms")
class NamesFilesAfterImages(PlainLoader):
    def name(self, image: Image) -> None:
        (self.kept.folder / quote(str(image.reference), safe="")).touch()
        super().name(image)


@breaks("test_names_of_all_forms")
class NamesWhatItRefuses(PlainLoader):
    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        self.kept.write_names({image.reference: (image,)})
        super().load(image, blobs)


@breaks("test_a_name_without_a_tag")
class LosesNamesWithoutATag(PlainLoader):
    def name(self, image: Image) -> None:
        if image.reference.tag:
            super().name(image)


@breaks("test_tag_and_digest_name_the_tag")
class KeepsTheDigestInTheName(PlainLoader):
    class storage(PlainStorage):
        def key(self, reference: Reference) -> Reference:
            return reference


@breaks("test_tags_differ_by_case")
class IgnoresCase(PlainLoader):
    class storage(PlainStorage):
        def key(self, reference: Reference) -> Reference:
            return super().key(replace(reference, tag=reference.tag.lower()))


class NamesFirst(PlainLoader):
    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        names = self.kept.names()
        self.kept.write_names({**names, image.reference: (image,)})
        super().load(image, blobs)


@breaks("test_a_load_that_fails_leaves_nothing", "test_a_killed_load_leaves_nothing_visible")
class NamesBeforeItTakes(NamesFirst):
    pass


@breaks("test_a_load_that_fails_leaves_nothing")
class HidesFailures(PlainLoader):
    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        with suppress(StorageError):
            super().load(image, blobs)


@breaks("test_a_load_that_fails_leaves_the_earlier_image", "test_a_killed_load_leaves_nothing_visible")
class TakesTheNameAwayFirst(PlainLoader):
    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        names = self.kept.names()
        names.pop(image.reference, None)
        self.kept.write_names(names)
        super().load(image, blobs)


@breaks("test_a_load_that_failed_can_be_tried_again")
class GivesUpForGood(PlainLoader):
    broken = False

    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        if self.broken:
            raise StorageError("this loader is broken")
        self.broken = True
        super().load(image, blobs)
        self.broken = False


@breaks("test_a_killed_load_leaves_nothing_visible")
class LeavesItsLock(PlainLoader):
    class storage(PlainStorage):
        @contextmanager
        def locked(self, what: str) -> Iterator[None]:
            lock = self.folder / f"{what.replace(':', '-')}.lock"
            try:
                lock.open("x").close()
            except FileExistsError:
                raise StorageError("locked") from None
            yield
            lock.unlink()


@breaks("test_processes_load_one_image")
class IsOfOneProcess(PlainLoader):
    def load(self, image: Image, blobs: HasBlobFiles) -> None:
        with suppress(FileExistsError):
            (self.kept.folder / "owner").open("x").write(str(os.getpid()))
        if (self.kept.folder / "owner").read_text() != str(os.getpid()):
            raise StorageError("another process is at it")
        super().load(image, blobs)


@breaks("test_processes_load_several_images")
class WritesOnlyItsOwnNames(PlainLoader):
    class storage(PlainStorage):
        def write_names(self, names: Names) -> None:
            own: Names = self.__dict__.setdefault("own", {})
            own.update({name: images for name, images in names.items() if name in own or name == list(names)[-1]})
            super().write_names(own)


@breaks("test_big_layers_pass_through")
class HoldsLayersWhole(PlainLoader):
    def take(self, blob: Descriptor, blobs: HasBlobFiles) -> None:
        self.kept.path(blob.digest).write_bytes(blobs.blob_path(blob.digest).read_bytes())


@breaks("test_closed_twice")
class ClosesOnce(PlainLoader):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise ValueError("closed already")
        self.closed = True


@breaks("test_closed_unused")
class ClosesWhatItOpened(PlainLoader):
    def close(self) -> None:
        (self.kept.folder / "names").stat()


globals().update(MUTANTS.classes())
