"""Storages that break a promise about images, each for the tests that its `breaks` names."""

from __future__ import annotations

import json
import os
import threading
from dataclasses import replace
from pathlib import Path
from urllib.parse import quote

from polyarch.contract import (
    OCI_MANIFEST,
    Digest,
    Image,
    NotFoundError,
    Reference,
    StorageError,
    parse_config,
    parse_document,
)
from polyarch.testing.conformance.storage_images import StorageImages
from support.mutants import Mutants
from support.plain_storage import Names, OfOneThread, PlainStorage, storage_fixtures

MUTANTS = Mutants(StorageImages, storage_fixtures, PlainStorage)
breaks = MUTANTS.breaks


@breaks("test_an_unknown_name_has_no_images")
class RaisesForUnknownNames(PlainStorage):
    def find(self, reference: Reference) -> tuple[Image, ...]:
        if found := super().find(reference):
            return found
        raise NotFoundError(f"{reference} is not here")


@breaks("test_what_was_committed_is_found")
class ChangesTags(PlainStorage):
    def find(self, reference: Reference) -> tuple[Image, ...]:
        return tuple(replace(image, reference=replace(reference, tag="latest")) for image in super().find(reference))


class RemembersNames(PlainStorage):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.kept: Names = {}

    def names(self) -> Names:
        return dict(self.kept)

    def write_names(self, names: Names) -> None:
        self.kept = names


@breaks("test_what_was_committed_is_found_by_everybody")
class ForgetsNames(RemembersNames):
    pass


def _tidy(raw: bytes) -> bytes:
    return json.dumps(json.loads(raw)).encode()


class Tidies(PlainStorage):
    """Writes one of the documents again."""

    def commit(self, image: Image) -> None:
        super().commit(self.tidied(image))

    def tidied(self, image: Image) -> Image:
        return image


@breaks("test_documents_are_kept_byte_for_byte")
class TidiesManifests(Tidies):
    def tidied(self, image: Image) -> Image:
        return replace(image, manifest=replace(image.manifest, raw=_tidy(image.manifest.raw)))


@breaks("test_documents_are_kept_byte_for_byte")
class TidiesIndexes(Tidies):
    def tidied(self, image: Image) -> Image:
        return replace(image, root=parse_document(_tidy(image.root.raw)))


@breaks("test_documents_are_kept_byte_for_byte")
class TidiesConfigs(Tidies):
    def tidied(self, image: Image) -> Image:
        return replace(image, config=parse_config(_tidy(image.config.raw)))


@breaks("test_dockers_media_types_are_kept")
class KnowsOnlyOciTypes(Tidies):
    def tidied(self, image: Image) -> Image:
        return replace(image, manifest=replace(image.manifest, media_type=OCI_MANIFEST))


@breaks("test_the_proven_platform_is_kept")
class BelievesTheConfig(Tidies):
    def tidied(self, image: Image) -> Image:
        return replace(image, platform=image.config.platform)


@breaks("test_an_image_without_its_blobs_is_refused")
class ChecksNothing(PlainStorage):
    def check(self, image: Image) -> None:
        pass


@breaks("test_an_image_without_its_blobs_is_refused")
class ChecksTooLate(PlainStorage):
    def commit(self, image: Image) -> None:
        self.write_names({**self.names(), image.reference: (image,)})
        super().commit(image)


@breaks("test_a_refused_image_leaves_the_name_as_it_was")
class TakesTheNameAwayFirst(PlainStorage):
    def commit(self, image: Image) -> None:
        names = self.names()
        names.pop(self.key(image.reference), None)
        self.write_names(names)
        super().commit(image)


@breaks("test_nothing_is_found_before_commit")
class IsOpenUntilClosed(PlainStorage):
    def publish(self, digest: Digest) -> None:
        (self.folder / "open").write_text(str(os.getpid()))
        super().publish(digest)

    def check(self, image: Image) -> None:
        if (self.folder / "open").read_text() != str(os.getpid()):
            raise StorageError("another process has not closed the storage")
        super().check(image)


@breaks("test_a_name_moves")
class LeavesOldImages(PlainStorage):
    def staying(self, images: tuple[Image, ...], new: Image) -> tuple[Image, ...]:
        return tuple(one for one in images if one.manifest != new.manifest)


@breaks("test_the_same_image_comes_twice")
class AddsTheSameAgain(PlainStorage):
    def staying(self, images: tuple[Image, ...], new: Image) -> tuple[Image, ...]:
        return tuple(one for one in images if one.root == new.root)


@breaks("test_other_names_stay")
class HasOneTagARepository(PlainStorage):
    def write_names(self, names: Names) -> None:
        super().write_names({name: images for name, images in names.items() if name == list(names)[-1]})


@breaks("test_images_share_blobs")
class TakesBlobsIntoTheImage(PlainStorage):
    def commit(self, image: Image) -> None:
        super().commit(image)
        for blob in image.manifest.blobs:
            self.path(blob.digest).unlink()


@breaks("test_platforms_of_one_name")
class KeepsOnePlatform(PlainStorage):
    def staying(self, images: tuple[Image, ...], new: Image) -> tuple[Image, ...]:
        return ()


@breaks("test_another_root_takes_the_name_alone")
class MixesRoots(PlainStorage):
    def staying(self, images: tuple[Image, ...], new: Image) -> tuple[Image, ...]:
        return tuple(one for one in images if one.platform != new.platform)


@breaks("test_found_by_tag_and_digest")
class IgnoresTheDigestBesideATag(PlainStorage):
    def fits(self, image: Image, reference: Reference) -> bool:
        return bool(reference.tag) or super().fits(image, reference)


@breaks("test_found_by_tag_and_digest")
class KnowsTheRootsDigestAlone(PlainStorage):
    def fits(self, image: Image, reference: Reference) -> bool:
        return reference.digest in ("", image.root.digest)


@breaks("test_found_by_digest_alone")
class FindsDigestsAnywhere(PlainStorage):
    def same_place(self, one: Reference, other: Reference) -> bool:
        return True


@breaks("test_found_by_digest_alone")
class FindsNoDigests(PlainStorage):
    def same_place(self, one: Reference, other: Reference) -> bool:
        return False


@breaks("test_a_name_without_a_tag")
class TagsEverything(PlainStorage):
    def key(self, reference: Reference) -> Reference:
        return replace(reference, tag=reference.tag or "latest", digest="")


@breaks("test_names_of_all_forms")
class NamesFilesAfterImages(PlainStorage):
    def commit(self, image: Image) -> None:
        super().commit(image)
        (self.folder / quote(str(image.reference), safe="")).touch()


@breaks("test_names_of_all_forms")
class CutsTags(PlainStorage):
    def find(self, reference: Reference) -> tuple[Image, ...]:
        return super().find(replace(reference, tag=reference.tag[:64]))


@breaks("test_tags_differ_by_case")
class IgnoresCase(PlainStorage):
    def key(self, reference: Reference) -> Reference:
        return super().key(replace(reference, tag=reference.tag.lower()))


@breaks("test_readers_see_whole_images_while_a_name_moves")
class MovesNamesInTwoSteps(PlainStorage):
    looked = threading.Event()

    def find(self, reference: Reference) -> tuple[Image, ...]:
        found = super().find(reference)
        MovesNamesInTwoSteps.looked.set()
        return found

    def write_names(self, names: Names) -> None:
        (self.folder / "names").unlink(missing_ok=True)
        MovesNamesInTwoSteps.looked.clear()
        MovesNamesInTwoSteps.looked.wait(0.05)  # a reader's chance, which another machine gives by itself
        super().write_names(names)


@breaks("test_threads_commit_names")
class CommitsInOneThread(OfOneThread):
    def write_names(self, names: Names) -> None:
        self.check_thread()
        super().write_names(names)


@breaks("test_processes_commit_names")
class WritesOnlyItsOwnNames(PlainStorage):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.own: Names = {}

    def write_names(self, names: Names) -> None:
        self.own = {name: images for name, images in names.items() if name in self.own or name == list(names)[-1]}
        super().write_names(self.own)


@breaks("test_closed_twice")
class ClosesOnce(PlainStorage):
    closed = False

    def close(self) -> None:
        if self.closed:
            raise ValueError("closed already")
        self.closed = True


@breaks("test_closed_unused")
class ClosesWhatItOpened(PlainStorage):
    def close(self) -> None:
        (self.folder / "names").stat()


globals().update(MUTANTS.classes())
